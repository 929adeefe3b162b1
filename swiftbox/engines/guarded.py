"""A process of an engine and its whole family: heard line by line, ended when we end."""

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

LOOK_AGAIN_S = 0.1
LAST_WORDS = 30
DRAIN_S = 5.0
"""For what was said last to be read, when a stray child holds the pipe."""

OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
"""Variables that speak of our own Python, not of the engine's."""


class Guarded:
    """A process group that ends with this process; `hear(is_output, line)` gets what it says.

    It works in `folder`, by default where we do.
    """

    def __init__(
        self,
        python: Path,
        words: Sequence[str],
        env: Mapping[str, str],
        hear: Callable[[bool, str], None],
        *,
        folder: Path | None = None,
    ) -> None:
        self.hear = hear
        self.last: deque[str] = deque(maxlen=LAST_WORDS)
        """What it said last, for reports; `hear` may add to it."""
        self._heard: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
        found = {name: value for name, value in env.items() if name not in OURS}
        found["PATH"] = os.pathsep.join((str(python.parent), env.get("PATH", os.defpath)))
        self.process = subprocess.Popen(
            [str(python), "-I", "-u", "-X", "utf8", str(GUARD), *words],
            env=found,
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
        for one in self._readers:
            one.start()

    def _read(self, pipe: IO[str], is_output: bool) -> None:
        for line in pipe:
            self._heard.put((is_output, line.rstrip("\n")))

    def run(
        self, until: Callable[[], bool] = lambda: False, *, end_within_s: float = 0.0
    ) -> int | None:
        """Wait for its end and return its exit code; None when `until` said to end it first.

        Then the group gets SIGTERM and, after `end_within_s`, SIGKILL. Whatever happens, nothing
        of the group is left when this returns or raises.
        """
        try:
            while self.process.poll() is None:
                if until():
                    self._ask_to_end(end_within_s)
                    return None
                self._pass_on(LOOK_AGAIN_S)
        finally:
            self._kill()
        return self.process.returncode

    def _pass_on(self, within_s: float) -> None:
        """Pass on all that was said, waiting for the first of it."""
        with contextlib.suppress(queue.Empty):
            self.hear(*self._heard.get(timeout=within_s))
            while True:
                self.hear(*self._heard.get_nowait())

    def _ask_to_end(self, within_s: float) -> None:
        self._signal(signal.SIGTERM)
        until = time.monotonic() + within_s
        while self.process.poll() is None and time.monotonic() < until:
            self._pass_on(LOOK_AGAIN_S)

    def _kill(self) -> None:
        """End all of the group, also children that outlived their parent; then hear the rest."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        until = time.monotonic() + DRAIN_S
        for one in self._readers:
            one.join(max(0.0, until - time.monotonic()))
        self._pass_on(0.001)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def how_it_ended(code: int) -> tuple[str, str]:
    """Say in English and Chinese how a process ended that should have ended with 0."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}", f"被 {name} 终止"
    return f"ended with code {code}", f"以代码 {code} 退出"
