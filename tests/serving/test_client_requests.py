"""What clients really send is taken, or refused by the name of what is not supported."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from box import HANG_S
from client_requests import COMPLETIONS, PATHS, REFUSED, TAKEN, USER
from forced_server import ForcedServer, answering, tokenizer_with
from template_rows import wheel_source

ANSWER = "<think>\nhm\n</think>\n\nFine."


@pytest.fixture(scope="module")
def server() -> Iterator[ForcedServer]:
    tokenizer = tokenizer_with(wheel_source("qwen3"), [])
    with answering({"": tokenizer}) as running:
        running.scheduler.text = ANSWER
        yield running


def send(server: ForcedServer, path: str, body: Any) -> tuple[int, str]:
    response, answer = exchange(server, path, body)
    return response.status, answer


def exchange(server: ForcedServer, path: str, body: Any) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=HANG_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("case", TAKEN)
def test_what_clients_send_is_taken(case: str, server: ForcedServer) -> None:
    body = TAKEN[case]
    status, answer = send(server, "/v1/chat/completions", body)
    assert status == 200, answer
    if not body.get("stream"):
        choices = json.loads(answer)["choices"]
        assert len(choices) == body.get("n", 1)
        assert choices[0]["message"]["content"].strip() == "Fine."
    else:
        assert answer.endswith("data: [DONE]\n\n")
        assert ('"completion_tokens"' in answer) == ("stream_options" in body)


def test_proxies_are_asked_to_pass_a_stream_on_at_once(server: ForcedServer) -> None:
    body = {"model": "base", "messages": [USER], "stream": True}
    response, _ = exchange(server, "/v1/chat/completions", body)
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize(("keys", "reason"), REFUSED, ids=[reason[:30] for _, reason in REFUSED])
def test_what_is_not_supported_is_refused_by_its_name(
    keys: dict[str, Any], reason: str, server: ForcedServer
) -> None:
    body = {"model": "base", "messages": [USER], **keys}
    status, answer = send(server, "/v1/chat/completions", body)
    assert status == 400
    assert reason in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("body", COMPLETIONS)
def test_completions_of_clients_are_taken(body: dict[str, Any], server: ForcedServer) -> None:
    status, answer = send(server, "/v1/completions", {"model": "base", **body})
    assert status == 200, answer


@pytest.mark.parametrize(("path", "reason"), PATHS)
def test_an_unknown_path_says_what_to_use(path: str, reason: str, server: ForcedServer) -> None:
    status, answer = send(server, path, {})
    assert status == 404
    assert reason in json.loads(answer)["error"]["message"]
