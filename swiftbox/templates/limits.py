"""Limits of time and length for chat templates that are rendered in this process.

A thread watches the renderings. It raises an exception in a thread that renders for too long, which
takes effect at the next instruction of the template; what a single instruction can do was tried in
a child before (security/templates.py). The output is limited as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator

from swiftbox.errors import DataError
from swiftbox.formatting import duration
from swiftbox.language import text

RENDER_S = 10.0
"""The time for one conversation; a real one takes a thousandth of that on a slow machine."""

POLL_S = 0.25
IDLE_S = 10.0
"""How long the watching thread waits for another rendering before it ends."""

OUTPUT_FACTOR, OUTPUT_SPARE = 50, 2**20
"""The limit of the output in characters: this many times the input, and room for a preamble."""


class RenderingTooLong(Exception):
    """Raised in a thread whose rendering has reached its time limit."""


class TimeLimit:
    """Raises RenderingTooLong in its block where a rendering takes too long; not nested.

    `restart` begins the next rendering; it is one assignment, since it is called for each row.
    """

    def __init__(self, within_s: float | None = None) -> None:
        self.within_s = RENDER_S if within_s is None else within_s
        self.thread = threading.get_ident()
        self.deadline = 0.0
        self.is_expired = False

    def restart(self) -> None:
        """Begin the next rendering."""
        self.deadline = time.monotonic() + self.within_s

    def __enter__(self) -> TimeLimit:
        self.restart()
        _WATCH.add(self)
        return self

    def __exit__(self, *_error: object) -> None:
        _WATCH.remove(self)
        if self.is_expired:
            # The exception may still be on its way: it must not reach the code after the block.
            with contextlib.suppress(RenderingTooLong):
                for _ in range(1000):
                    time.sleep(0)


class _Watch:
    """The limits that are in use, and the thread that watches them while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: set[TimeLimit] = set()
        self._thread: threading.Thread | None = None

    def add(self, limit: TimeLimit) -> None:
        """Watch a limit."""
        with self._lock:
            self._limits.add(limit)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="template deadlines", daemon=True
                )
                self._thread.start()

    def remove(self, limit: TimeLimit) -> None:
        """Watch a limit no longer; afterwards its `is_expired` is final."""
        with self._lock:
            self._limits.discard(limit)

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(POLL_S)
            with self._lock:
                now = time.monotonic()
                for limit in [limit for limit in self._limits if limit.deadline < now]:
                    self._limits.discard(limit)
                    limit.is_expired = True
                    _raise_in(limit.thread)
                if self._limits:
                    idle_since = now
                elif now - idle_since > IDLE_S:
                    self._thread = None
                    return


def _raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(RenderingTooLong)
    )


_WATCH = _Watch()


@contextlib.contextmanager
def explained(owner: str) -> Iterator[None]:
    """Raise DataError, which names the template's owner, for a rendering beyond its limits."""
    try:
        yield
    except RenderingTooLong:
        raise _refusal(owner, _too_slow()) from None
    except MemoryError:
        raise _refusal(owner, text("it takes all memory", "耗尽内存")) from None


def require_length(rendered: str, messages: object, owner: str) -> None:
    """Raise DataError for a text that is much longer than its conversation."""
    count = len(rendered)
    if count > OUTPUT_SPARE and count > OUTPUT_SPARE + OUTPUT_FACTOR * len(repr(messages)):
        raise _refusal(owner, text(f"it renders {count:,} characters", f"渲染出 {count:,} 个字符"))


def _too_slow() -> str:
    return text(
        f"it does not end within {duration(RENDER_S)}", f"在 {duration(RENDER_S)}内没有结束"
    )


def _refusal(name: str, reason: str) -> DataError:
    return DataError(
        text(
            f"the chat template of {name} cannot be used on a conversation: {reason}",
            f"{name} 的对话模板无法用于某个对话：{reason}",
        ),
        hint=text(
            "use the template of the model's authors (template: auto)",
            "请使用模型作者的模板（template: auto）",
        ),
    )
