"""Who watches the waits for child processes: a front that shows them, for the time of a block.

Children are asked far below the front; the watcher changes nothing in what they answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar

OnWait = Callable[[str], AbstractContextManager[None]]
"""Shows what is waited for, for the time of a block."""

_WATCHER: ContextVar[OnWait | None] = ContextVar("watcher of waits", default=None)


@contextlib.contextmanager
def reported_wait(purpose: str) -> Iterator[None]:
    """Let the watcher, if there is one, show what is waited for in this block."""
    watcher = _WATCHER.get()
    with contextlib.nullcontext() if watcher is None else watcher(purpose):
        yield


@contextlib.contextmanager
def watched_waits(watcher: OnWait) -> Iterator[None]:
    """Call `watcher` for each wait in this block."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)
