"""What separates the cells of a csv file: the header and the rows after it must agree."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TextIO

from swiftbox.data.content import open_utf8

SEPARATORS = (",", ";", "\t")

SEPARATOR_NOTES = {
    ";": ("columns separated by ;", "列以分号分隔"),
    "\t": ("columns separated by tabs", "列以制表符分隔"),
}
"""What is said, in English and Chinese; commas go without saying."""

SAMPLED_ROWS = 200
"""Rows that must have as many cells as the header; a later one that has not is a bad row."""


def open_cells(path: Path) -> TextIO:
    """Open a file of cells as text; bytes that are not UTF-8 become lone surrogates."""
    return io.TextIOWrapper(
        open_utf8(path), encoding="utf-8-sig", newline="", errors="surrogateescape"
    )


def separator_of(path: Path) -> str | None:
    """Return what separates the cells of a file; None if several separators fit equally well."""
    if ".tsv" in map(str.lower, path.suffixes):
        return "\t"
    stat = path.stat()
    return _separator(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4096)
def _separator(path: Path, _version: tuple[int, int, int]) -> str | None:
    splitting = [separator for separator in SEPARATORS if _cells_per_row(path, separator, 1)]
    if splitting in ([], [","]):
        return ","
    fitting = [
        separator for separator in splitting if _cells_per_row(path, separator, SAMPLED_ROWS)
    ]
    if len(fitting) > 1:
        return None
    return fitting[0] if fitting else ","


def _cells_per_row(path: Path, separator: str, count: int) -> int:
    """Return the cells of each of the first rows; 0 if they differ or have only one."""
    with open_cells(path) as file:
        rows = (row for row in csv.reader(file, delimiter=separator, strict=True) if row)
        try:
            numbers = {len(row) for row in islice(rows, count)}
        except csv.Error:
            return 0
    number = numbers.pop() if len(numbers) == 1 else 0
    return number if number > 1 else 0
