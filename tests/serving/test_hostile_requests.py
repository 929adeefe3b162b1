"""Requests made to harm the server: a short refusal, and the next request is answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from box import HANG_S
from own_server import Server, serving

from swiftbox.serving import app, prompts, tokenizing
from swiftbox.serving.requests import parse
from swiftbox.serving.tokenizing import tokenize

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
LONGEST_ANSWER = 3000
MUCH = 400 * 2**20
"""Bytes; a body of 4 MiB in many lists and strings takes about 100 MB."""


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny, max_concurrency=4) as running:
        yield running


def send(
    server: Server, path: str, body: bytes | dict[str, Any] | None, **headers: str
) -> tuple[int, str]:
    """Send a request; return the status, and the message or the answer."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=HANG_S)
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    try:
        connection.putrequest("POST" if raw is not None else "GET", path, skip_host=True)
        headers = {"Host": "127.0.0.1", "Content_Type": "application/json", **headers}
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.putheader("Content-Length", str(len(raw or b"")))
        connection.endheaders(raw)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost:8000", "[::1]:8000", "127.0.0.1:1", "LOCALHOST."],
)
def test_a_request_to_this_machine_is_answered(host: str, server: Server) -> None:
    assert send(server, "/v1/models", None, Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    "evil.example 127.evil.example 127.0.0.1.evil.example localhost.evil.example:80 "
    "localhost@evil.example [evil 0.0.0.0 evil.example:127.0.0.1".split(),
)
def test_a_request_to_another_name_is_refused(host: str, server: Server) -> None:
    for path, body in ((CHAT, ASK), ("/v1/models", None), ("/health", None)):
        status, message = send(server, path, body, Host=host)
        assert status in (400, 421)
        assert "tiny" not in message


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.evil.example"])
def test_a_page_of_another_site_is_refused(origin: str, server: Server) -> None:
    assert send(server, CHAT, ASK, Origin=origin)[0] == 403


def test_a_page_of_this_machine_is_answered(server: Server) -> None:
    assert send(server, CHAT, ASK, Origin="http://localhost:3000")[0] == 200


LARGE = 4 * 2**20 - 1000
HALF = "\ud800"


def asking(**message: Any) -> str:
    """Return a request with one message."""
    return json.dumps({**ASK, "messages": [{"role": "user", **message}]})


DEEP = "[" * 500 + "]" * 500
BODIES = {
    "10,000 prompts": (TEXT, json.dumps({"model": "tiny", "prompt": ["a"] * 10_000})),
    "a million wrong prompts": (TEXT, '{"model": "tiny", "prompt": [' + "{}," * 400_000 + "{}]}"),
    "a million wrong stops": (CHAT, json.dumps({**ASK, "stop": [1] * 400_000})),
    "a million lists": (CHAT, '{"model": "tiny", "messages": [' + "[]," * 1_000_000 + "[]]}"),
    "long stop": (CHAT, json.dumps({**ASK, "stop": "x" * LARGE})),
    "many stop ids": (CHAT, json.dumps({**ASK, "stop_token_ids": list(range(10_000))})),
    "many biases": (CHAT, json.dumps({**ASK, "logit_bias": {str(i): 1 for i in range(10_000)}})),
    "long model": (CHAT, json.dumps({**ASK, "model": "x" * LARGE})),
    "long key": (CHAT, json.dumps({**ASK, "x" * LARGE: 1})),
    "long part": (CHAT, asking(content=[{"type": "x" * LARGE}])),
    "deep tools": (CHAT, json.dumps(ASK)[:-1] + ', "tools": [{"a": ' + DEEP + "}]}"),
    "deep arguments": (
        CHAT,
        asking(tool_calls=[{"function": {"name": "a", "arguments": f'{{"a": {DEEP}}}'}}]),
    ),
    "half a surrogate": (CHAT, asking(content=HALF)),
    "half a surrogate in a part": (CHAT, asking(content=[{"type": "text", "text": HALF}])),
    "half a surrogate in arguments": (
        CHAT,
        asking(tool_calls=[{"function": {"name": "a", "arguments": '{"a": "\\ud800"}'}}]),
    ),
    "a number of tool calls": (CHAT, asking(tool_calls=5)),
    "half a surrogate as key": (CHAT, json.dumps({**ASK, HALF: 1})),
    "huge max_tokens": (CHAT, json.dumps({**ASK, "max_tokens": 10**400})),
    "endless number": (CHAT, '{"model": "tiny", "seed": ' + "9" * 100_000 + "}"),
    "huge seed": (CHAT, json.dumps({**ASK, "seed": 2**70})),
    "huge n": (CHAT, json.dumps({**ASK, "n": 10**30})),
    "huge token": (TEXT, json.dumps({"model": "tiny", "prompt": [10**30]})),
    "tiny penalty": (CHAT, json.dumps({**ASK, "repetition_penalty": 1e-320})),
    "infinity": (CHAT, '{"model": "tiny", "messages": [{"role": "user"}], "top_p": 1e999}'),
    "huge top_logprobs": (CHAT, json.dumps({**ASK, "logprobs": True, "top_logprobs": 10**9})),
}


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused_shortly(path: str, body: str, server: Server) -> None:
    before = psutil.Process().memory_info().rss
    status, message = send(server, path, body.encode())
    assert status in (400, 404), message[:500]
    assert len(message) < LONGEST_ANSWER
    assert json.loads(message)["error"]["message"]
    assert psutil.Process().memory_info().rss - before < MUCH
    assert send(server, CHAT, ASK)[0] == 200


CHUNKED = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A request that stands in the body of another."""

PATHS = [CHAT, "/", "/unknown", "/health"]
"""A path that reads a body, and those that answer 405 or 404 without it."""


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10**6 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10**5 + b"\r\n",
        b"GET /" + b"x" * 10**6 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        CHUNKED % b"/unknown" + b"f" * 18,
        CHUNKED % CHAT.encode() + b"f" * 21 + b"\r\n",
        b"\x00" * 10**5,
    ],
    ids="long|many|path|two hosts|two lengths|negative|half chunk|chunk|zeros".split("|"),
)
def test_hostile_headers_end_the_connection(data: bytes, server: Server) -> None:
    received = answers_until_the_end(server, data)
    assert not received or received.split()[1] in (b"400", b"421", b"404")
    assert send(server, CHAT, ASK)[0] == 200


def answers_until_the_end(server: Server, data: bytes) -> bytes:
    """Send bytes on one connection; return what is answered until the server closes it."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=HANG_S) as client:
        received = b""
        with contextlib.suppress(ConnectionError):  # it did not wait for the rest
            client.sendall(data)
            while new := client.recv(65536):
                received += new
    return received


@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_read_out_of_a_malformed_body(path: str, server: Server) -> None:
    received = answers_until_the_end(server, CHUNKED % path.encode() + b"f" * 18 + HIDDEN * 2)
    assert received.count(b"HTTP/1.1") <= 1
    assert b"HTTP/1.1 200" not in received


@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_read_out_of_a_body_that_nobody_reads(path: str, server: Server) -> None:
    sized = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    last = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for data in (
        sized % (path.encode(), len(HIDDEN)) + HIDDEN,
        CHUNKED % path.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    ):
        received = answers_until_the_end(server, data + last)
        assert b"HTTP/1.1 200" not in received
        assert received.count(b"HTTP/1.1") == 2
        assert b"unknown path: /last" in received


def test_others_are_answered_while_large_bodies_are_read(server: Server) -> None:
    body = BODIES["a million lists"][1].encode()
    others_answered, reading = threading.Event(), threading.Event()

    def wait_and_parse(*arguments: Any) -> Any:
        if len(arguments[1]) == len(body):
            reading.set()
            assert others_answered.wait(HANG_S)
        return parse(*arguments)

    with mock.patch.object(app, "parse", wait_and_parse):
        thread = threading.Thread(target=send, args=(server, CHAT, body))
        thread.start()
        assert reading.wait(HANG_S)
        answers = [send(server, "/health", None)[0], send(server, CHAT, ASK)[0]]
        others_answered.set()
        thread.join(HANG_S)
    assert answers == [200, 200]


def test_short_prompts_do_not_wait_for_long_ones(server: Server) -> None:
    long = "ab " * 100_000
    short_answered, waiting = threading.Event(), threading.Semaphore(0)

    def wait_and_tokenize(tokenizer: Any, text: str, *limit: int, **keys: bool) -> Any:
        if text == long:
            waiting.release()
            assert short_answered.wait(HANG_S)
        return tokenize(tokenizer, text, *limit, **keys)

    with mock.patch.object(prompts, "tokenize", wait_and_tokenize):
        body = json.dumps({"model": "tiny", "prompt": long}).encode()
        paths = (TEXT, "/tokenize") * 2
        threads = [threading.Thread(target=send, args=(server, path, body)) for path in paths]
        for thread in threads:
            thread.start()
        assert waiting.acquire(timeout=HANG_S)
        short = json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 1}).encode()
        answers = [send(server, TEXT, short)[0] for _ in range(3)]
        short_answered.set()
        for thread in threads:
            thread.join(HANG_S)
    assert answers == [200] * 3


def test_a_prompt_of_too_many_bytes_is_not_tokenized(server: Server) -> None:
    long = "ab " * 300_000
    with mock.patch.object(tokenizing, "_without_padding", side_effect=AssertionError):
        for path, body in (
            (TEXT, {"model": "tiny", "prompt": long}),
            (CHAT, {**ASK, "messages": [{"role": "user", "content": long}]}),
        ):
            status, message = send(server, path, body)
            assert (status, json.loads(message)["error"]["code"]) == (
                400,
                "context_length_exceeded",
            )
            assert "900,000 bytes, but the limit of 1024 tokens including the answer" in message
