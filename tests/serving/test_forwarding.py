"""Another program's server behind our listener: checked requests reach it, and their answers us."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from box import HANG_S, until

from swiftbox.serving import forwarding as forwarding_module
from swiftbox.serving.address import listen_on
from swiftbox.serving.chat_page import FOLDER
from swiftbox.serving.forwarding import (
    ForwardedServer,
    Forwarder,
    Listener,
    forwarding,
    private_socket,
)
from swiftbox.serving.guards import AccessRules

KEY = "sk-test-9f2c"
PAGE = "https://chat.example.com"


class Program(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A server on a socket, which records requests and answers POSTs when it is released."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        self.broken_off = threading.Event()
        """Set once a client of ours has closed its connection within an answer."""
        self.running = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Program

    def do_GET(self) -> None:
        self._record(b"")
        self._head(200, len(b"ok"))
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        self._record(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/silent":
            self.server.running += 1
            self._wait_for_end()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.server.running += 1
        self._chunk(b"data: 1\n\n")
        if self.path == "/watch":
            self._wait_for_end()
            return
        self.server.released.wait(HANG_S)
        self._chunk(b"data: 2\n\n")
        self._chunk(b"")
        self.server.running -= 1

    def _wait_for_end(self) -> None:
        self.connection.settimeout(HANG_S)
        if self.connection.recv(1) == b"":
            self.server.broken_off.set()
        self.close_connection = True

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _record(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def running(
    key: str | None = KEY, *, slots: int = 2, queue: int = 1, starts: bool = True
) -> Iterator[tuple[Program | None, Listener, threading.Event]]:
    """Run our listener and, if it `starts`, the program behind it."""
    stop = threading.Event()
    access = AccessRules(key, 100_000, only_local=True, allowed_origins=[PAGE])
    with private_socket() as path, listen_on("127.0.0.1", 0) as listening:
        program = Program(path) if starts else None
        if program is not None:
            threading.Thread(target=program.serve_forever, args=(0.02,), daemon=True).start()
        server = ForwardedServer(path, slots, queue)
        try:
            with forwarding(server, listening, access, stop=stop) as listener:
                yield program, listener, stop
        finally:
            if program is not None:
                program.released.set()
                program.shutdown()
                program.server_close()


def ask(
    listener: Listener, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection(listener.url.removeprefix("http://"), timeout=HANG_S)
    try:
        fields = {"Authorization": f"Bearer {KEY}"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[Program, Listener]]:
    """A program that answers at once."""
    with running() as (program, listener, _stop):
        assert program is not None
        program.released.set()
        yield program, listener


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_a_refused_request_does_not_reach_the_program(
    headers: dict[str, str], status: int, behind: tuple[Program, Listener]
) -> None:
    program, listener = behind
    before = len(program.requests)
    assert ask(listener, "POST", "/v1/chat/completions", b"{}", **headers)[0] == status
    assert ask(listener, "POST", "/v1/chat/completions", b"x" * 100_001)[0] == 413
    assert len(program.requests) == before


def test_a_request_is_passed_on_without_what_is_for_us(behind: tuple[Program, Listener]) -> None:
    program, listener = behind
    secret = {"Cookie": "a=b", "Origin": PAGE, "Content_Type": "application/json"}
    status, content, headers = ask(listener, "POST", "/v1/x%2Fy?a=1%20b", b'{"a": 1}', **secret)
    assert (status, content) == (200, b"data: 1\n\ndata: 2\n\n")
    assert headers.get_all("Access-Control-Allow-Origin") == [PAGE]
    path, passed, body = program.requests[-1]
    assert (path, body) == ("/v1/x%2Fy?a=1%20b", b'{"a": 1}')
    assert passed == {
        "host": "localhost",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "8",
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no JSON", "not JSON"),
        (b"[" * 40_000 + b"]" * 40_000, "levels deep"),
        (b'{"json_schema": ' + b'{"items": ' * 70 + b"{}" + b"}" * 71, "levels deep"),
        (json.dumps({"grammar": "root ::= " + "(" * 300 + '"a"' + ")" * 300}).encode(), "groups"),
    ],
    ids=["text", "large", "schema", "grammar"],
)
def test_a_body_by_which_a_recursive_program_ends_is_not_passed_on(
    body: bytes, reason: str, behind: tuple[Program, Listener]
) -> None:
    program, listener = behind
    before = len(program.requests)
    status, content, _headers = ask(listener, "POST", "/v1/chat/completions", body)
    assert status == 400
    assert reason in json.loads(content)["error"]["message"]
    assert len(program.requests) == before
    flat = json.dumps({"grammar": 'root ::= ("a") | ' + " | ".join(['("b")'] * 300)}).encode()
    assert ask(listener, "POST", "/v1/chat/completions", flat)[0] == 200


def test_our_page_stands_in_front_of_the_program(behind: tuple[Program, Listener]) -> None:
    program, listener = behind
    before = len(program.requests)
    status, page, headers = ask(listener, "GET", "/", Authorization="")
    assert (status, page) == (200, (FOLDER / "chat.html").read_bytes())
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert ask(listener, "GET", "/chat.json", Authorization="")[0] == 401
    defaults = json.loads(ask(listener, "GET", "/chat.json")[1])
    assert (defaults["temperature"], defaults["without_template"]) == (None, [])
    assert len(program.requests) == before


def test_headers_are_returned_without_content_for_head(behind: tuple[Program, Listener]) -> None:
    status, content, headers = ask(behind[1], "HEAD", "/health")
    assert (status, content, headers["Content-Length"]) == (200, b"", "2")


def test_an_answer_arrives_as_it_is_written() -> None:
    with running(None) as (program, listener, _stop):
        assert program is not None
        connection = opened(listener, "/v1/chat/completions")
        received = b""
        while b"data: 1" not in received:
            received += connection.recv(1000)
        assert b"data: 2" not in received
        program.released.set()
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1000)
        connection.close()


def opened(listener: Listener, path: str) -> socket.socket:
    """Send a request on a raw socket and leave it open."""
    host, port = listener.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=HANG_S)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n"
    connection.sendall(head.encode() + b"{}")
    return connection


def test_a_client_that_disconnects_ends_the_answer_of_the_program() -> None:
    with running(None) as (program, listener, _stop):
        assert program is not None
        connection = opened(listener, "/watch")
        until(lambda: program.running == 1, what="a running answer")
        connection.close()
        assert program.broken_off.wait(HANG_S)


def test_a_client_that_disconnects_before_the_answer_begins_ends_it_too() -> None:
    with running(None, slots=1, queue=8) as (program, listener, _stop):
        assert program is not None
        connection = opened(listener, "/silent")
        until(lambda: program.running == 1, what="a request without an answer yet")
        connection.close()
        assert program.broken_off.wait(HANG_S)
        program.released.set()
        assert ask(listener, "POST", "/v1/x", b"{}")[0] == 200


def test_a_client_that_disconnects_while_it_waits_is_not_asked_for(tmp_path: Path) -> None:
    forwarder = Forwarder(ForwardedServer(tmp_path / "none.sock", slots=0, queue=2))
    messages = iter([{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(forwarder({"method": "POST"}, receive, send))  # would wait for ever
    assert sent == []
    assert forwarder.unanswered == 0


def test_further_requests_wait_and_then_are_refused_while_health_is_answered() -> None:
    with running(slots=1, queue=1) as (program, listener, _stop), ThreadPoolExecutor(3) as pool:
        assert program is not None
        first = pool.submit(ask, listener, "POST", "/v1/x", b"{}")
        until(lambda: program.running == 1, what="a running answer")
        further = [pool.submit(ask, listener, "POST", "/v1/x", b"{}") for _ in range(2)]
        refused, waiting = wait(further, HANG_S, FIRST_COMPLETED)
        status, content, headers = refused.pop().result()
        assert (status, json.loads(content)["error"]["code"]) == (429, "queue_full")
        assert int(headers["Retry-After"]) > 0
        assert ask(listener, "GET", "/health")[0] == 200
        assert sum(path == "/v1/x" for path, _, _ in program.requests) == 1
        program.released.set()
        assert [answer.result(HANG_S)[0] for answer in (first, *waiting)] == [200, 200]


def test_a_program_that_does_not_listen_is_503() -> None:
    with running(starts=False) as (_program, listener, _stop):
        status, content, _headers = ask(listener, "GET", "/health")
        assert (status, json.loads(content)["error"]["code"]) == (503, "silent")


def test_a_stop_lets_an_answer_end(monkeypatch: pytest.MonkeyPatch) -> None:
    draining, drain = threading.Event(), Forwarder.drain

    def observed(forwarder: Forwarder) -> None:
        draining.set()
        drain(forwarder)

    monkeypatch.setattr(Forwarder, "drain", observed)
    monkeypatch.setattr(forwarding_module, "DRAIN_S", HANG_S)
    with running() as (program, listener, stop), ThreadPoolExecutor(1) as pool:
        assert program is not None
        answer = pool.submit(ask, listener, "POST", "/v1/x", b"{}")
        until(lambda: program.running == 1, what="a running answer")
        stop.set()
        assert draining.wait(HANG_S)
        assert not listener.ended.is_set()
        program.released.set()
        assert answer.result(HANG_S)[1].endswith(b"data: 2\n\n")
        assert listener.ended.wait(HANG_S)


def test_a_stop_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding_module, "DRAIN_S", 0.2)
    with running(None) as (program, listener, stop):
        assert program is not None
        connection = opened(listener, "/v1/x")
        until(lambda: program.running == 1, what="a running answer")
        stop.set()
        assert listener.ended.wait(HANG_S)
        connection.close()


def test_the_socket_is_in_a_folder_of_this_user_alone() -> None:
    with private_socket() as path:
        assert path.parent.stat().st_mode & 0o077 == 0
        assert len(str(path)) < 100
    assert not path.parent.exists()
