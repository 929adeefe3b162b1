"""A curve in a terminal: a few lines of Braille dots or ASCII."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 60, 8
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Braille: the bit of each dot, by column and row of the cell (Unicode 15.0, block 2800)."""


def chart(values: Sequence[float], *, unicode: bool = True, width: int = WIDTH) -> str:
    """Draw values from left to right, with the highest and the lowest at the axis."""
    if not values:
        return ""
    across, down = (2, 4) if unicode else (1, 1)
    columns, rows = width * across, HEIGHT * down
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    cells = [[0] * width for _ in range(HEIGHT)]
    for column in range(columns):
        value = values[round(column * (len(values) - 1) / max(1, columns - 1))]
        row = round((high - value) / spread * (rows - 1))
        bit = DOTS[column % 2][row % 4] if unicode else 1
        cells[row // down][column // across] |= bit
    lines = []
    for number, row_cells in enumerate(cells):
        label = {0: f"{high:8.3f}", HEIGHT - 1: f"{low:8.3f}"}.get(number, " " * 8)
        line = "".join(_letter(cell, unicode) for cell in row_cells).rstrip()
        lines.append(f"{label} |{line}")
    lines.append(f"{' ' * 8} +{'-' * width} {len(values)}")
    return "\n".join(lines)


def _letter(cell: int, unicode: bool) -> str:
    if not cell:
        return " "
    return chr(0x2800 + cell) if unicode else "*"
