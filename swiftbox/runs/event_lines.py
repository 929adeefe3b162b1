"""The lines of a record of events, newest first, without reading a long record to its start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

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
