"""Who watches rows being read: a front that shows progress, for the time of a block.

Rows are read far below the front, by every task in its own way; the watcher is not one of their
settings and changes nothing in what they return.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

OnRow = Callable[[], None]

_WATCHER: ContextVar[OnRow | None] = ContextVar("row watcher", default=None)


def report_row() -> None:
    """Tell the watcher, if there is one, that a row is being looked at."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher()


@contextlib.contextmanager
def watched_rows(watcher: OnRow) -> Iterator[None]:
    """Call `watcher` for each row that is read in this block."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)
