"""A process group of an engine: its output is read line by line, and it ends when we end.

Three threads per process: two readers put lines into a queue, the caller's thread takes them out
and calls `on_line`. guard.py, which is the group's leader, reads a pipe whose other end this
process holds: when this process is gone, the kernel closes the pipe and the guard kills the group.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")

POLL_S = 0.1
LAST_LINES = 30
DRAIN_S = 5.0
"""The time to read the last output when a stray child keeps the pipe open."""

OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
"""Variables that describe our own Python, not the engine's."""

OnLine = Callable[[bool, str], None]
"""`on_line(is_output, line)`: a line of standard output, or of standard error."""


class ProcessGroup:
    """A process group that ends with this process, in `folder` or the current folder."""

    def __init__(
        self,
        python: Path,
        arguments: Sequence[str],
        env: Mapping[str, str],
        on_line: OnLine,
        *,
        folder: Path | None = None,
    ) -> None:
        self.on_line = on_line
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        """The last lines worth reporting; `on_line` adds to it."""
        self._lines: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
        variables = {name: value for name, value in env.items() if name not in OWN_VARIABLES}
        variables["PATH"] = os.pathsep.join((str(python.parent), env.get("PATH", os.defpath)))
        self.process = subprocess.Popen(
            [str(python), "-I", "-u", "-X", "utf8", str(GUARD), *arguments],
            env=variables,
            cwd=folder,
            stdin=subprocess.PIPE,  # its end tells the guard that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, is_output), daemon=True)
            for pipe, is_output in ((self.process.stdout, True), (self.process.stderr, False))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], is_output: bool) -> None:
        for line in pipe:
            self._lines.put((is_output, line.rstrip("\n")))

    def run(
        self, should_end: Callable[[], bool] = lambda: False, *, grace_s: float = 0.0
    ) -> int | None:
        """Wait for the process and return its exit code; None if `should_end` ended it.

        Ending sends SIGTERM to the group and, after `grace_s`, SIGKILL. No process of the group
        is left when this returns or raises.
        """
        try:
            while self.process.poll() is None:
                if should_end():
                    self._terminate(grace_s)
                    return None
                self._deliver(POLL_S)
        finally:
            self._kill()
        return self.process.returncode

    def _deliver(self, timeout_s: float) -> None:
        """Pass on all lines that were read, waiting for the first of them."""
        with contextlib.suppress(queue.Empty):
            self.on_line(*self._lines.get(timeout=timeout_s))
            while True:
                self.on_line(*self._lines.get_nowait())

    def _terminate(self, grace_s: float) -> None:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self.process.poll() is None and time.monotonic() < deadline:
            self._deliver(POLL_S)

    def _kill(self) -> None:
        """Kill the whole group, children that outlived their parent too; then read the rest."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + DRAIN_S
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        self._deliver(0.001)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def describe_exit(code: int) -> tuple[str, str]:
    """Describe, in English and Chinese, the exit of a process that should have returned 0."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}", f"被 {name} 终止"
    return f"ended with code {code}", f"以代码 {code} 退出"
