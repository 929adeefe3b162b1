"""Two growing texts side by side, written row by row.

A terminal cannot change a row that has scrolled away, so a row is written once, when it is final
in both columns: when its text continues in the next row, or has ended. Wrapping only ever moves
the last row of a text, which is why the rows above it are final.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from swiftbox.formatting import pad, width, wrap

SEPARATOR = " │ "
MAX_LINE_BREAKS = 2
"""Consecutive line breaks that are kept: the end of a line and one empty line."""

MIN_COLUMNS = 100
"""Columns of a terminal from which on two texts are easier to read side by side."""


def wrap_text(content: str, cells: int) -> list[str]:
    """Return a text as rows of at most that many cells."""
    return [row for line in content.expandtabs(4).split("\n") for row in wrap(line, cells)]


def limit_line_breaks(content: str, preceding: int) -> tuple[str, int]:
    """Return a piece of a text without repeated empty lines, and the line breaks at its end.

    `preceding` line breaks stand before the piece. A model that writes nothing else would scroll
    the conversation out of a small terminal.
    """
    shown = []
    for letter in content:
        if letter == "\n":
            preceding += 1
        elif letter not in " \t" or not preceding:
            preceding = 0
        if letter != "\n" or preceding <= MAX_LINE_BREAKS:
            shown.append(letter)
    return "".join(shown), preceding


@dataclass
class Columns:
    """Writes two growing texts side by side; a written row does not change."""

    terminal_columns: int
    write: Callable[[str], object]
    texts: list[str] = field(default_factory=lambda: ["", ""])
    ended: list[bool] = field(default_factory=lambda: [False, False])
    rows_written: int = 0
    last_is_empty: bool = False

    @property
    def cells(self) -> int:
        """Return the width of one column."""
        return (self.terminal_columns - 1 - width(SEPARATOR)) // 2

    def write_head(self, names: tuple[str, str]) -> None:
        """Write the name above each column."""
        left, right = (wrap_text(name, self.cells)[0] for name in names)
        self._write_row(left, right)

    def add(self, column: int, content: str) -> None:
        """Append to the text of a column."""
        self.texts[column] += content
        self._write_final_rows()

    def end(self, column: int) -> None:
        """Note that the text of a column is complete."""
        self.ended[column] = True
        self._write_final_rows()

    def _write_final_rows(self) -> None:
        columns = [wrap_text(content.rstrip("\n"), self.cells) for content in self.texts]
        final = [
            len(rows) if ended else len(rows) - 1
            for rows, ended in zip(columns, self.ended, strict=True)
        ]
        growing = [rows for rows, ended in zip(final, self.ended, strict=True) if not ended]
        until = min(growing) if growing else max(final)
        for number in range(self.rows_written, until):
            left, right = (rows[number] if number < len(rows) else "" for rows in columns)
            is_empty = not left.strip() and not right.strip()
            if not (is_empty and self.last_is_empty):
                self._write_row(left, right)
            self.last_is_empty = is_empty
        self.rows_written = max(self.rows_written, until)

    def _write_row(self, left: str, right: str) -> None:
        self.write(f"{pad(left, self.cells)}{SEPARATOR}{right}".rstrip() + "\n")
