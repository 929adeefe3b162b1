"""A line on the terminal that counts the rows while they are checked."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from swiftbox.data.progress import watched_rows
from swiftbox.language import text

QUIET_S = 0.5
"""A check that takes less shows nothing."""

REPAINT_S = 0.1
ROWS_PER_LOOK = 64
"""Rows between two looks at the clock; a row may take 10 microseconds."""

CLEAR_LINE = "\r\x1b[K"


class RowProgress:
    """Counts rows, and shows the count on a terminal from time to time."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.rows = 0
        self.next_paint = time.monotonic() + QUIET_S
        self.is_shown = False

    def count(self) -> None:
        """Count a row."""
        self.rows += 1
        if self.rows % ROWS_PER_LOOK == 0 and time.monotonic() > self.next_paint:
            self._paint()

    def _paint(self) -> None:
        line = text(f"checking rows: {self.rows:,}", f"正在检查数据：{self.rows:,} 行")
        self._write(f"{CLEAR_LINE}{line}")
        self.is_shown = True
        self.next_paint = time.monotonic() + REPAINT_S

    def clear(self) -> None:
        """Remove the line."""
        if self.is_shown:
            self._write(CLEAR_LINE)

    def _write(self, content: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal does not stop a check
            self.stream.write(content)
            self.stream.flush()


@contextlib.contextmanager
def shown_row_progress() -> Iterator[None]:
    """Show how many rows have been checked in this block, if stderr is a terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    progress = RowProgress(sys.stderr)
    try:
        with watched_rows(progress.count):
            yield
    finally:
        progress.clear()
