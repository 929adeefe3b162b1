"""What two renderings begin with alike: in characters, or in tokens of the template."""

from __future__ import annotations

import re

UNITS = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|\s+|.", re.DOTALL)
"""Pieces of template text that are compared as wholes: special tokens, blanks, characters."""


def shared_start(first: str, second: str) -> int:
    """Return the number of characters that both texts begin with."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # comparing halves is faster than comparing characters
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def shared_units(first: str, second: str) -> str:
    """Return the units that both texts begin with."""
    length = 0
    for mine, other in zip(UNITS.findall(first), UNITS.findall(second), strict=False):
        if mine != other:
            break
        length += len(mine)
    return first[:length]
