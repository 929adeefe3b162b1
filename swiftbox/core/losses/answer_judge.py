"""Tell whether answers equal their solutions, with a child process that a hard pair may end.

A model writes whatever it likes: an answer such as 9^{9^{9^{9}}} takes all time and memory of the
machine. The child that compares it is ended by its limits, and the pair is not judged.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence

from swiftbox.security.children import child_environment, module_command

TIME, MEMORY, WAIT = "processor time", "memory", "waiting time"
"""Limits of a comparison."""

LONGEST_WAIT_S = 60.0
"""A child ends by its processor time; this is for a machine on which it gets none."""


class AnswerJudge:
    """Compares pairs of solution and answer, one at a time, in a child process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closer = weakref.finalize(self, _end, [])
        self.reached: Counter[str] = Counter()
        """How many comparisons reached each limit."""

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """Return whether each answer equals its solution; None if that cannot be decided."""
        with self._lock:
            verdicts: dict[tuple[str, str], bool | None] = {}
            for pair in pairs:
                if pair not in verdicts:
                    verdicts[pair] = self._verdict(pair)
        return [verdicts[pair] for pair in pairs]

    def close(self) -> None:
        """End the child; a later comparison starts another."""
        with self._lock:
            self._closer()
            self._child = None

    def _verdict(self, pair: tuple[str, str]) -> bool | None:
        child = self._child or self._start()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(pair).encode() + b"\n")
            verdict: bool | None = json.loads(_read_line(child))
        except (OSError, ValueError) as error:  # its limits ended it
            self.reached[_limit(child, error)] += 1
            self._closer()
            self._child = None
            return None
        return verdict

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            module_command("swiftbox.core.losses.math_equality"),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._child = child
        self._closer = weakref.finalize(self, _end, [child])
        return child


def _read_line(child: subprocess.Popen[bytes]) -> bytes:
    """Return the next line; raise OSError if the process ends or takes too long."""
    assert child.stdout is not None
    deadline, received = time.monotonic() + LONGEST_WAIT_S, b""
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    while not received.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        part = child.stdout.read(1024)
        if not part:
            raise BrokenPipeError
        received += part
    return received


def _limit(child: subprocess.Popen[bytes], error: Exception) -> str:
    """Return the limit that a child has reached, by how it ended."""
    if isinstance(error, TimeoutError):
        return WAIT
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(LONGEST_WAIT_S)
    return TIME if child.returncode == -signal.SIGPROF else MEMORY


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
