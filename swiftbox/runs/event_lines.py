"""The lines of a record of events: what JSON can hold, and reading the newest first.

A long record is not read to its start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import IO, Any

BLOCK_BYTES = 2**18
SEARCH_BYTES = 8 * 2**20
"""How far back is searched; the last step of a training is followed by a few kilobytes."""


def newest_lines(file: IO[bytes], search_bytes: int = SEARCH_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file from the last to the first, at most `search_bytes` back.

    The first one yielded is what follows the last line break: empty, or a line being written.
    """
    position = file.seek(0, os.SEEK_END)
    limit = max(0, position - search_bytes)
    unfinished = b""
    while position > limit:
        start = max(limit, position - BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start) + unfinished
        position = start
        unfinished, *lines = block.split(b"\n")
        yield from reversed(lines)
    if limit == 0:
        yield unfinished


def finite_numbers(value: Any) -> Any:
    """Return plain data with None for infinity and NaN, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_numbers(item) for item in value]
    return value
