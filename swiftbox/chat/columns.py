"""Two texts beside each other, a line at a time as they grow; wide characters take two places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

GAP = " │ "
LINE_ENDS = 2
"""In a row: the end of a line and an empty one."""

LEAST_WIDTH = 100
"""Places of a terminal from which on two columns are better read than one below the other."""


def cells(words: str) -> int:
    """Return the places that a text takes in a terminal."""
    from rich.cells import cell_len

    return cell_len(words)


def wrapped(words: str, width: int) -> list[str]:
    """Return a text as lines of that many places: broken at spaces, between wide characters."""
    found: list[str] = []
    for line in words.expandtabs(4).split("\n"):
        found += _broken(line, width)
    return found


def _broken(line: str, width: int) -> list[str]:
    found: list[str] = []
    while cells(line) > width:
        upto = _fitting(line, width)
        space = line.rfind(" ", 0, upto + 1)
        narrow = upto < len(line) and cells(line[upto - 1 : upto + 1]) == 2
        if space > 0 and narrow:
            found.append(line[:space])
            line = line[space + 1 :]
        else:
            found.append(line[:upto])
            line = line[upto:].lstrip(" ")
    return [*found, line]


def _fitting(line: str, width: int) -> int:
    """Return how many characters fit; one at least."""
    used = 0
    for at, one in enumerate(line):
        used += cells(one)
        if used > width:
            return max(1, at)
    return len(line)


def squeezed(words: str, before: int) -> tuple[str, int]:
    """Return a piece of a text with one empty line at most in a row, and its line ends at its end.

    `before` are the line ends that stand in front of it: what stays silent by writing nothing but
    them would else scroll all that was said off a small terminal.
    """
    found = []
    for one in words:
        before = before + 1 if one == "\n" else before if one in " \t" and before else 0
        if one != "\n" or before <= LINE_ENDS:
            found.append(one)
    return "".join(found), before


@dataclass
class Columns:
    """Writes each row once it is certain on both sides: nothing that was written moves."""

    width: int
    """Of the terminal."""
    write: Callable[[str], object]
    texts: list[str] = field(default_factory=lambda: ["", ""])
    ended: list[bool] = field(default_factory=lambda: [False, False])
    written: int = 0
    blank: bool = False
    """Whether the last row was empty: a second one in a row tells nothing."""

    @property
    def each(self) -> int:
        """Return the places of one column."""
        return (self.width - 1 - cells(GAP)) // 2

    def head(self, names: tuple[str, str]) -> None:
        """Write who speaks on which side."""
        self._row(*(wrapped(one, self.each)[0] for one in names))

    def add(self, side: int, words: str) -> None:
        """Take more of one side."""
        self.texts[side] += words
        self._flush()

    def end(self, side: int) -> None:
        """Know that nothing more comes of one side."""
        self.ended[side] = True
        self._flush()

    def _flush(self) -> None:
        lines = [wrapped(one.rstrip("\n"), self.each) for one in self.texts]
        certain = [
            len(rows) if end else len(rows) - 1 for rows, end in zip(lines, self.ended, strict=True)
        ]
        upto = (
            max(certain)
            if all(self.ended)
            else min((one for one, end in zip(certain, self.ended, strict=True) if not end))
        )
        for at in range(self.written, upto):
            left, right = (rows[at] if at < len(rows) else "" for rows in lines)
            empty = not left.strip() and not right.strip()
            if not (empty and self.blank):
                self._row(left, right)
            self.blank = empty
        self.written = max(self.written, upto)

    def _row(self, left: str, right: str) -> None:
        space = " " * (self.each - cells(left))
        self.write(f"{left}{space}{GAP}{right}".rstrip() + "\n")
