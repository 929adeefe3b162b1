"""A server that is gone differs from nothing: its end is told, in its own words."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from swiftbox.errors import ResultError, RunError
from swiftbox.serving.client import Endpoint
from swiftbox.serving.parity import Held, hold
from swiftbox.serving.vllm import watch

ONCE = """
import http.server, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).handle_request()
sys.exit(3)
"""
"""Says once that it is well, and ends."""


@pytest.fixture
def port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    return found


def held(tiny: Path, url: str, *, strict: bool) -> None:
    hold(
        Held("tiny", {"tiny": tiny}, "float32"),
        Endpoint.at(url),
        strict=strict,
        generate=None,
        stop=threading.Event(),
        emit=lambda *_, **__: None,
    )


@pytest.mark.parametrize("strict", [True, False])
def test_a_server_that_takes_no_connection_is_no_difference(
    tiny: Path, port: int, *, strict: bool
) -> None:
    with pytest.raises(RunError, match="refused"):
        held(tiny, f"http://127.0.0.1:{port}", strict=strict)


def watched(port: int, log: Path, started: Any) -> bool:
    words = [sys.executable, "-c", ONCE, str(port)]
    url, stop = f"http://127.0.0.1:{port}", threading.Event()
    return watch(words, os.environ, url, stop=stop, started=started, drain_s=5, log=log)


def test_a_vllm_that_ends_while_it_is_held_leaves_its_last_words(
    tiny: Path, tmp_path: Path, port: int
) -> None:
    log = tmp_path / "log"
    log.write_text("CUDA error: an illegal memory access", "utf-8")
    with pytest.raises(RunError, match="vllm ended with code 3\nCUDA error"):
        watched(port, log, lambda: held(tiny, f"http://127.0.0.1:{port}", strict=True))


def test_a_difference_stays_one(tmp_path: Path, port: int) -> None:
    def differs() -> None:
        raise ResultError("token 3 differs")

    with pytest.raises(ResultError, match="token 3 differs"):
        watched(port, tmp_path / "log", differs)
