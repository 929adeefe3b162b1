"""What browsers ask before and beside a request: preflights, options, headers only."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import HANG_S
from own_server import Server, serving
from pydantic import ValidationError

from swiftbox.config.deploy import DeployConfig

PAGE = "https://chat.example.com"
KEY = "sk-test"


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny, key=KEY, allowed_origins=[PAGE]) as running:
        yield running


def ask(server: Server, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=HANG_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def test_an_allowed_page_may_send_requests(server: Server) -> None:
    preflight_headers = {"Access_Control_Request_Method": "POST"}
    preflight_headers["Access_Control_Request_Headers"] = "authorization,content-type"
    preflight = ask(server, "OPTIONS", "/v1/chat/completions", Origin=PAGE, **preflight_headers)
    assert preflight.status == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = ask(server, "GET", "/v1/models", Origin=PAGE, Authorization=f"Bearer {KEY}")
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_another_page_may_not(server: Server) -> None:
    other = {"Origin": "https://evil.example"}
    preflight_headers = {**other, "Access_Control_Request_Method": "POST"}
    assert ask(server, "OPTIONS", "/v1/chat/completions", **preflight_headers).status == 400
    answer = ask(server, "GET", "/v1/models", Authorization=f"Bearer {KEY}", **other)
    assert answer.status == 403
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_a_refusal_can_be_read_by_an_allowed_page(server: Server) -> None:
    answer = ask(server, "GET", "/v1/models", Origin=PAGE)
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_options_and_head_are_answered(server: Server) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    options = ask(server, "OPTIONS", "/v1/chat/completions", **key)
    assert (options.status, options.headers["Allow"]) == (204, "POST")
    full, head = (ask(server, method, "/v1/models", **key) for method in ("GET", "HEAD"))
    assert (head.status, head.length) == (200, 0)
    assert head.headers["Content-Length"] == full.headers["Content-Length"]


def test_models_have_the_time_of_their_loading(server: Server) -> None:
    with server.client(KEY) as client:
        (model,) = client.models.list()
    assert time.time() - 3600 < model.created <= time.time()


@pytest.mark.parametrize("origin", ["chat.example.com", "https://a.example/path", "", "HTTP://A"])
def test_what_is_not_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="allowed_origins"):
        DeployConfig(model="m", allowed_origins=[origin])
