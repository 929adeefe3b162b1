"""Thousands of wrong requests on one connection: each is refused with a reason, and no more."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import HANG_S
from malformed_requests import malformed_requests
from own_server import Server, serving

COUNT = 2000

INTERNALS = ("pydantic", "validation error", "Input should", "constrained-", "type=", "Traceback")
"""What a message of pydantic's or Python's would hold."""


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny, max_model_len=160) as running:
        yield running


def test_every_malformed_request_is_refused_and_the_connection_stays(server: Server) -> None:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    connection.connect()
    first = connection.sock
    statuses: Counter[int] = Counter()
    for path, body in malformed_requests(COUNT, seed=16):
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        assert connection.sock is first, (path, body[:500], content)
        assert response.status in (200, 400, 404), (path, body[:500], content)
        statuses[response.status] += 1
        if response.status != 200 and response.headers["Content-Type"] == "application/json":
            message = json.loads(content)["error"]["message"]
            assert message
            assert not any(internal in message for internal in INTERNALS), message
    connection.close()
    assert statuses.total() == COUNT
    assert statuses[400] > COUNT // 2
