"""A server that has ended does not differ: its end is reported with its last lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftbox.errors import ResultError, RunError
from swiftbox.serving.address import listen_on
from swiftbox.serving.client import Endpoint
from swiftbox.serving.parity import ParityTarget, RunningServer, require_parity
from swiftbox.serving.server_process import ServerProgram, watch

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
"""Answers one health check, and ends."""


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on, reserved for a child: its bind may reuse the address."""
    with listen_on("127.0.0.1", 0) as reserved:
        yield reserved.getsockname()[1]


def check_parity(tiny: Path, url: str, *, strict: bool) -> None:
    require_parity(
        ParityTarget("tiny", {"tiny": tiny}, "float32"),
        RunningServer(Endpoint.at(url), threading.Event()),
        strict=strict,
        emit=lambda *_, **__: None,
    )


@pytest.mark.parametrize("strict", [True, False])
def test_a_server_that_refuses_connections_is_not_a_difference(
    tiny: Path, port: int, *, strict: bool
) -> None:
    with pytest.raises(RunError, match="refused"):
        check_parity(tiny, f"http://127.0.0.1:{port}", strict=strict)


def watched(port: int, log: Path, started: Any) -> bool:
    arguments = [sys.executable, "-c", ONCE, str(port)]
    process = ServerProgram("vllm", arguments, os.environ, f"http://127.0.0.1:{port}", log)
    return watch(process, stop=threading.Event(), started=started, drain_s=5)


def test_a_vllm_that_ends_during_the_comparison_leaves_its_last_lines(
    tiny: Path, tmp_path: Path, port: int
) -> None:
    log = tmp_path / "log"
    log.write_text("CUDA error: an illegal memory access", "utf-8")
    with pytest.raises(RunError, match="vllm ended with code 3\nCUDA error"):
        watched(port, log, lambda: check_parity(tiny, f"http://127.0.0.1:{port}", strict=True))


def test_a_difference_is_reported_as_one(tmp_path: Path, port: int) -> None:
    def differs() -> None:
        raise ResultError("token 3 differs")

    with pytest.raises(ResultError, match="token 3 differs"):
        watched(port, tmp_path / "log", differs)
