"""The server of another program ends with the run, however the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from box import HANG_S, gone, until

from swiftbox.serving.address import listen_on
from swiftbox.serving.server_process import ServerProgram, watch

SERVER = """
import http.server, os, pathlib, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health)
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
server.serve_forever()
"""

WATCHER = f"""
import os, sys, threading
from pathlib import Path
from swiftbox.serving.server_process import ServerProgram, watch
port, folder = sys.argv[1], Path(sys.argv[2])
command = [sys.executable, "-c", {SERVER!r}, port, str(folder / "pid")]
program = ServerProgram("toy", command, os.environ, "http://127.0.0.1:" + port, folder / "log")
watch(program, stop=threading.Event(), started=(folder / "ready").touch, drain_s=5)
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on, reserved for a child: its bind may reuse the address."""
    with listen_on("127.0.0.1", 0) as reserved:
        yield reserved.getsockname()[1]


def test_a_stop_ends_the_program_and_what_guards_it(port: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(port), str(tmp_path / "pid")]
    url = f"http://127.0.0.1:{port}"
    program = ServerProgram("toy", command, os.environ, url, tmp_path / "log")
    stop = threading.Event()
    assert watch(program, stop=stop, started=stop.set, drain_s=HANG_S)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_killed_run_leaves_no_server(port: int, tmp_path: Path) -> None:
    watcher = subprocess.Popen([sys.executable, "-c", WATCHER, str(port), str(tmp_path)])
    try:
        until((tmp_path / "ready").exists, what="the server")
        server = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        watcher.send_signal(signal.SIGKILL)
        watcher.wait(HANG_S)
    server.wait(HANG_S)
    assert not server.is_running()
