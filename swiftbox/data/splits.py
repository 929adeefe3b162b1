"""The split of a source, and the part of its rows: train, train[:1%], train[100:200].

The notation is that of the datasets library: rows from a first to a last bound, as numbers or
percents, negative ones from the end; percents are rounded to the nearest row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from swiftbox.errors import DataError
from swiftbox.language import text

PATTERN = re.compile(
    r"(?P<name>[^\[\]+%:]*)"
    r"(?P<part>\[(?P<first>-?\d{1,12}%?)?:(?P<last>-?\d{1,12}%?)?\])?"
)


@dataclass(frozen=True)
class Split:
    """The files of a split (None: any), and the bounds of the rows to take."""

    name: str | None = None
    first: str | None = None
    last: str | None = None

    @property
    def takes_part(self) -> bool:
        """Return whether only a part of the rows is taken."""
        return self.first is not None or self.last is not None

    @property
    def needs_total(self) -> bool:
        """Return whether the bounds depend on the number of rows."""
        return any(bound and ("%" in bound or "-" in bound) for bound in (self.first, self.last))

    def bounds(self, total: int) -> tuple[int, int]:
        """Return the first row (from 0) and the row after the last one, of `total` rows."""
        first = 0 if self.first is None else _row(self.first, total)
        last = total if self.last is None else _row(self.last, total)
        return first, last


def _row(bound: str, total: int) -> int:
    number = int(bound.removesuffix("%"))
    if bound.endswith("%"):
        number = round(total * number / 100)
    return min(max(number + total if number < 0 or bound.startswith("-") else number, 0), total)


@lru_cache(maxsize=256)
def parse_split(value: str | None, dataset: str) -> Split:
    """Read the `split` of a source; raise DataError if it is none."""
    if value is None:
        return Split()
    match = PATTERN.fullmatch(value.strip())
    if match is None or any(_percent(match[bound]) > 100 for bound in ("first", "last")):
        raise DataError(
            text(
                f"dataset: {dataset}: split should be a name such as train or train[:10%] "
                f"(got {value})",
                f"dataset：{dataset}：split 应为名称，例如 train 或 train[:10%]（当前为 {value}）",
            ),
            hint=text(
                "to take several splits, list the dataset once for each",
                "要使用多个 split，请在列表中为每个各写一项",
            ),
        )
    return Split(match["name"].strip() or None, match["first"], match["last"])


def _percent(bound: str | None) -> int:
    return abs(int(bound[:-1])) if bound and bound.endswith("%") else 0
