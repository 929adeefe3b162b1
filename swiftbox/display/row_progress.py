"""A line on the terminal while a check takes long: the rows it counts, or what it waits for."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from swiftbox.data.progress import watched_rows
from swiftbox.formatting import cut
from swiftbox.language import text
from swiftbox.runs.waiting import watched_waits

QUIET_S = 0.5
"""A check that takes less shows nothing."""

REPAINT_S = 0.1
ROWS_PER_LOOK = 64
"""Rows between two looks at the clock; a row may take 10 microseconds."""

CLEAR_LINE = "\r\x1b[K"


class RowProgress:
    """Counts rows, and shows the count on a terminal from time to time; shows waits."""

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

    @contextlib.contextmanager
    def wait(self, purpose: str) -> Iterator[None]:
        """Show what is waited for in this block, unless the wait is short."""
        timer = threading.Timer(QUIET_S, self._show, [f"{purpose} ..."])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self.clear()

    def _paint(self) -> None:
        self._show(text(f"checking rows: {self.rows:,}", f"正在检查数据：{self.rows:,} 行"))
        self.next_paint = time.monotonic() + REPAINT_S

    def _show(self, line: str) -> None:
        self.is_shown = True
        columns = shutil.get_terminal_size().columns  # a wrapped line could not be removed
        self._write(f"{CLEAR_LINE}{cut(line, columns - 1)}")

    def clear(self) -> None:
        """Remove the line."""
        if self.is_shown:
            self._write(CLEAR_LINE)
            self.is_shown = False

    def _write(self, content: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal does not stop a check
            self.stream.write(content)
            self.stream.flush()


@contextlib.contextmanager
def shown_row_progress() -> Iterator[None]:
    """Show how many rows are checked and what is waited for, if stderr is a terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    progress = RowProgress(sys.stderr)
    try:
        with watched_rows(progress.count), watched_waits(progress.wait):
            yield
    finally:
        progress.clear()
