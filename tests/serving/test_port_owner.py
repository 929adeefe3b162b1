"""The key of a server is sent only to a port that its process listens on."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swiftbox.config.chat import ChatConfig
from swiftbox.errors import RunError
from swiftbox.serving import server_process
from swiftbox.serving.address import listen_on
from swiftbox.serving.port_owner import owns_address
from swiftbox.serving.server_process import ServerProgram
from swiftbox.tasks import chat_servers
from swiftbox.tasks.participants import ParticipantSource

SILENT = [sys.executable, "-P", "-c", "import time; time.sleep(3600)"]


def test_a_port_belongs_to_the_process_that_listens_and_to_its_parents() -> None:
    source = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(child.stdout.readline())}"
        with subprocess.Popen(SILENT) as other:
            assert owns_address(child.pid, url)
            assert owns_address(os.getpid(), url)
            assert not owns_address(other.pid, url)
            other.kill()
        assert child.stdin is not None
        child.stdin.close()
    assert not owns_address(child.pid, url)


class Thief(http.server.BaseHTTPRequestHandler):
    """Answers that it is healthy, and keeps every header."""

    headers_seen: list[str] = []  # noqa: RUF012 - of all requests

    def do_GET(self) -> None:
        """Answer."""
        self.headers_seen.append(str(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def thief() -> object:
    server = http.server.HTTPServer(("127.0.0.1", 0), Thief)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_program_that_took_the_port_of_vllm_does_not_get_its_key(
    thief: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    process = ServerProgram("vllm", SILENT, {}, thief, tmp_path / "log.txt")
    stop = threading.Event()
    requests = len(Thief.headers_seen)
    checks = iter(range(5))

    def is_ours(pid: int, url: str) -> bool:
        if next(checks, None) is None:
            stop.set()
        return owns_address(pid, url)

    monkeypatch.setattr(server_process, "owns_address", is_ours)
    assert server_process.watch(process, stop=stop, started=lambda: verified.append(""), drain_s=1)
    assert verified == []
    assert len(Thief.headers_seen) == requests


def test_a_program_that_took_the_port_of_a_run_does_not_get_its_key(
    thief: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    with subprocess.Popen(SILENT) as server:
        source = ParticipantSource("served", url=thief, key_env="MY_KEY", process=server.pid)
        with pytest.raises(RunError, match="key is not sent"):
            chat_servers._connect(ChatConfig(endpoint=thief), source, {})
        server.kill()
    assert "sk-secret-1" not in "".join(Thief.headers_seen)


def test_a_free_port_belongs_to_nobody() -> None:
    with listen_on("127.0.0.1", 0) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    assert not owns_address(os.getpid(), url)
