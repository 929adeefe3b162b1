"""A limit on repeated lines of the log: strangers decide how often they cause one."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

LINES, PERIOD_S = 10, 60.0
"""The lines of one kind that are written in a period; the others are counted."""

MAX_KINDS = 200
"""Kinds that are remembered; beyond them all lines together count as one kind."""

LONGEST_LINE = 2000
"""Characters of one line without its traceback."""

OTHERS = ("", "")

LOGGERS = ("uvicorn.error", "uvicorn.asgi", "uvicorn.access", "asyncio")


@dataclass
class _Period:
    began: float
    lines: int = 0
    dropped: int = 0


class LogLimit(logging.Filter):
    """Drops lines of a kind that were written often; the next one says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._periods: dict[tuple[str, str], _Period] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        kind = (str(record.msg)[:200], _error_of(record))
        with self._lock:
            if kind not in self._periods and len(self._periods) >= MAX_KINDS:
                kind = OTHERS
            now = time.monotonic()
            period = self._periods.setdefault(kind, _Period(now))
            dropped = 0
            if now - period.began > PERIOD_S:
                dropped = period.dropped
                period = self._periods[kind] = _Period(now)
            period.lines += 1
            if period.lines > LINES:
                period.dropped += 1
                return False
        _shorten(record, dropped)
        return True


def _error_of(record: logging.LogRecord) -> str:
    error = record.exc_info[0] if record.exc_info else None
    return error.__name__ if error is not None else ""


def _shorten(record: logging.LogRecord, dropped: int) -> None:
    line = record.getMessage()
    if dropped or len(line) > LONGEST_LINE:
        suffix = f" ({dropped} more of these were not written)" if dropped else ""
        record.msg, record.args = line[:LONGEST_LINE] + suffix, ()


def limit_log() -> None:
    """Limit the repeated lines of the server's loggers."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(existing, LogLimit) for existing in logger.filters):
            logger.addFilter(LogLimit())
