"""Clients that open connections and send little: others are answered, and the log stays short."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from box import HANG_S, until

CHILD = Path(__file__).with_name("listening_child.py")
HALF_OPEN = 300
QUICK_S = 1.0
"""A normal request takes milliseconds; with one retry of the system's backlog still less."""

LARGEST_LOG = 2**20
FOREVER_S = 3600.0


@dataclass(frozen=True)
class Listener:
    """A server in its own process."""

    port: int
    log: Path
    process: psutil.Process

    def descriptors(self) -> int:
        """Return how many descriptors the server has open."""
        return self.process.num_fds()

    def ask(self, body: bytes | None = None) -> tuple[int, float]:
        """Return the status of a normal request, and how many seconds it took."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_S)
        with contextlib.closing(connection):
            connection.request("POST" if body else "GET", "/", body)
            status = connection.getresponse().status
        return status, time.monotonic() - began

    def open(self, data: bytes = b"") -> socket.socket:
        """Open a connection and send a part of a request."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=HANG_S)
        client.sendall(data)
        return client


@contextmanager
def listening(
    tmp_path: Path, *options: str, descriptors: int = 256, wait_s: float = FOREVER_S
) -> Iterator[Listener]:
    """Serve with few descriptors and a deadline for slow clients."""
    log = tmp_path / "log.txt"
    arguments = [sys.executable, str(CHILD), str(descriptors), str(wait_s), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Listener(int(process.stdout.readline()), log, psutil.Process(process.pid))
    finally:
        process.stdin.close()
        assert process.wait(HANG_S) == 0, log.read_text()
        process.stdout.close()


@contextmanager
def flood(listener: Listener, data: bytes, count: int = HALF_OPEN) -> Iterator[list[socket.socket]]:
    """Open many connections that send only a part of a request."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(listener.open(data)) for _ in range(count)]


PARTS = {
    "nothing": b"",
    "half headers": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "half body": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx",
    "half chunks": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3e8\r\nx",
    "no request": b"\x16\x03\x01 nonsense\r\n\r\n",
}


@pytest.mark.parametrize("data", PARTS.values(), ids=PARTS)
def test_a_request_is_answered_while_300_half_open_connections_stand(
    data: bytes, tmp_path: Path
) -> None:
    with listening(tmp_path) as listener, flood(listener, data):
        answers = [listener.ask(b"x" * 1000) for _ in range(5)]
    assert [status for status, _ in answers] == [200] * 5
    assert max(seconds for _, seconds in answers) < QUICK_S
    assert listener.log.stat().st_size < LARGEST_LOG


def test_the_log_of_many_invalid_requests_stays_short(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        for _ in range(300):
            with listener.open(b"no request\r\n\r\n") as client:
                client.recv(1000)
        assert listener.ask()[0] == 200
    assert 0 < listener.log.stat().st_size < 10_000


@pytest.mark.parametrize("part", ["nothing", "half headers", "half body", "half chunks"])
def test_a_client_that_sends_a_byte_at_a_time_is_closed_at_its_deadline(
    part: str, tmp_path: Path
) -> None:
    with listening(tmp_path, wait_s=1.0) as listener, listener.open(PARTS[part]) as client:
        client.settimeout(0.05)
        began, received = time.monotonic(), b""

        def is_closed() -> bool:
            nonlocal received
            try:
                received += (new := client.recv(1000))
                if not new:
                    return True
            except TimeoutError:
                client.sendall(b"x" if part != "nothing" else b"")
            except ConnectionError:
                return True
            return False

        with contextlib.suppress(ConnectionError):
            until(is_closed, what="a closed connection")
    assert time.monotonic() - began < FOREVER_S / 10
    assert b" 408 " in received or part == "nothing"


def test_a_client_that_does_not_read_its_answer_is_closed(tmp_path: Path) -> None:
    with listening(tmp_path, wait_s=1.0) as listener:
        before = listener.descriptors()
        with listener.open(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as client:
            client.recv(1)
            assert listener.descriptors() > before
            until(lambda: listener.descriptors() <= before, what="a closed connection")


def test_a_client_that_leaves_the_end_of_its_last_answer_unread_is_closed(tmp_path: Path) -> None:
    request = b"GET /medium HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with listening(tmp_path, "small", wait_s=1.0) as listener, socket.socket() as client:
        before = listener.descriptors()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", listener.port))
        client.sendall(request)
        client.recv(1)
        until(lambda: listener.descriptors() <= before, what="a closed connection")


def read_slowly(client: socket.socket, pause_s: float) -> int:
    """Read an answer a megabyte at a time; return its bytes."""
    count = 0
    while True:
        part = client.recv(2**20, socket.MSG_WAITALL)
        count += len(part)
        if not part:
            return count
        time.sleep(pause_s)  # a slow line, not a synchronisation


def test_a_slow_client_gets_a_long_answer_completely(tmp_path: Path) -> None:
    request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with listening(tmp_path, wait_s=2.0) as listener, listener.open(request) as client:
        began = time.monotonic()
        assert read_slowly(client, 0.15) > 32 * 2**20
        assert time.monotonic() - began > 4.0


def test_a_slow_client_may_send_a_long_body(tmp_path: Path) -> None:
    parts, size = 5, 3 * 2**19
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (parts * size)
    with listening(tmp_path, wait_s=1.0) as listener, listener.open(head) as client:
        for _ in range(parts):
            time.sleep(0.6)  # a slow line, not a synchronisation
            client.sendall(b"x" * size)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


TINY_PARTS = {
    "chunks": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 100_000,
    "headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a:b\r\n" * 100_000,
}


@contextmanager
def endless_requests(listener: Listener, data: bytes, count: int) -> Iterator[None]:
    """Send a request from several connections, and again whenever it was refused."""
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), listener.open() as client:
                while not stop.is_set():
                    client.sendall(data)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANG_S)


@pytest.mark.parametrize("data", TINY_PARTS.values(), ids=TINY_PARTS)
def test_a_request_is_answered_while_others_send_tiny_parts(data: bytes, tmp_path: Path) -> None:
    with listening(tmp_path) as listener, endless_requests(listener, data, 4):
        answers = [listener.ask(b"x" * 1000) for _ in range(10)]
    assert [status for status, _ in answers] == [200] * 10
    assert sorted(seconds for _, seconds in answers)[5] < QUICK_S
    assert listener.log.stat().st_size < LARGEST_LOG


def test_requests_on_one_connection_have_a_deadline_each(tmp_path: Path) -> None:
    with listening(tmp_path, wait_s=1.5) as listener:
        connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=HANG_S)
        began = time.monotonic()
        with contextlib.closing(connection):
            connection.connect()
            first = connection.sock
            while time.monotonic() - began < 4:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"0"
            assert connection.sock is first


def test_connections_beyond_the_descriptors_of_answers_are_refused(tmp_path: Path) -> None:
    with listening(tmp_path, descriptors=64) as listener:
        assert listener.ask()[0] == 200
        with flood(listener, b"", 500):
            assert listener.ask()[0] == 200
    assert listener.log.stat().st_size < LARGEST_LOG


def test_a_request_behind_a_burst_of_connections_is_answered(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with listening(tmp_path, descriptors=64) as listener, contextlib.ExitStack() as stack:
        for count in range(16, 40, 3):
            listener.process.suspend()  # the system collects the connections meanwhile
            try:
                for _ in range(count):
                    stack.enter_context(listener.open())
                client = stack.enter_context(listener.open(request))
            finally:
                listener.process.resume()
            assert client.recv(1000).startswith(b"HTTP/1.1 200"), count
