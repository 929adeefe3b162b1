"""A server of another program: started, watched until it answers, and stopped.

It runs under engines/guard.py in a process group: when this process is gone, whatever the cause,
the group is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.engines.process_group import GUARD
from swiftbox.engines.tool_runner import TOOLS
from swiftbox.errors import ChildError, RunError
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.serving.client import health
from swiftbox.serving.port_owner import owns_address

RUNNER = TOOLS / "run_program.py"

START_TIMEOUT_S = 1800
"""Weights from a slow disk, kernels compiled for the first time."""

POLL_S = 0.25
LAST_LINES = 20

EXIT_GRACE_S = 5.0
"""A process that refuses connections may still need a moment to exit."""


@dataclass(frozen=True)
class ServerProgram:
    """How to start a server: command, environment, the URL it will answer at, the run's log."""

    name: str
    arguments: list[str]
    env: Mapping[str, str]
    url: str
    log: Path
    is_forwarded: bool = False
    """Whether the URL is ours, and requests are passed on to a socket that only we can reach."""


def watch(
    server: ServerProgram,
    *,
    stop: threading.Event,
    started: Callable[[], None],
    drain_s: float,
) -> bool:
    """Run the server until `stop` is set; return True if it was stopped.

    Raises RunError with its last lines if it ends by itself. Another program that has taken the
    port is not asked: it must not get the key.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), str(RUNNER), *server.arguments],
        env=dict(server.env),
        cwd=server.log.parent,  # its workers may be of a Python that imports from there
        stdin=subprocess.PIPE,  # its end tells the guard that we are gone
        start_new_session=True,
    )
    try:
        deadline, is_ready = time.monotonic() + START_TIMEOUT_S, False
        while process.poll() is None and not stop.is_set():
            is_ours = is_ready or server.is_forwarded or owns_address(process.pid, server.url)
            if not is_ready and is_ours and health(server.url) == "ok":
                is_ready = True
                _report_ready(process, started, stop)
            if not is_ready and time.monotonic() > deadline:
                break
            stop.wait(POLL_S)
        if stop.is_set():
            return True
        raise _ended(process, server)
    finally:
        _end(process, drain_s)


def _report_ready(
    process: subprocess.Popen[bytes], started: Callable[[], None], stop: threading.Event
) -> None:
    """Report that it answers; ignore an error that its end or a stop has caused."""
    try:
        started()
    except RunError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=EXIT_GRACE_S)
        if process.poll() is None and not stop.is_set():
            raise


def _end(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Ask the process group to end, then kill what is left of it."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=within_s)
    _signal(process, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _ended(process: subprocess.Popen[bytes], server: ServerProgram) -> RunError:
    code, log, name = process.poll(), server.log, server.name
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    last_lines = "\n".join(lines[-LAST_LINES:])
    if code is None:
        limit = duration(START_TIMEOUT_S)
        what = text(f"{name} did not answer within {limit}", f"{name} 在 {limit}内未就绪")
    else:
        what = text(f"{name} ended with code {code}", f"{name} 以代码 {code} 退出")
    return ChildError(f"{what}\n{last_lines}".rstrip(), hint=text(f"see {log}", f"见 {log}"))
