"""Rows whose columns no format reads: two of them are kept, to show values and a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftbox.data.example import UNKNOWN_COLUMNS, RowError
from swiftbox.data.formats import ask_for_columns, likely_targets
from swiftbox.data.proposals import as_columns, shown_values
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.printable import printable

Row = Mapping[str, Any]

SHOWN_ROWS = 2

MOST_COLUMNS = 30
"""Columns whose values are shown; a table of more says no more."""


@dataclass
class UnknownRows:
    """Rows of a file with the same unknown columns."""

    place: str
    """The file and line of the first."""
    error: RowError
    rows: list[Row] = field(default_factory=list)
    count: int = 0

    def add(self, row: Row) -> None:
        """Count a row; the first ones are kept."""
        self.count += 1
        if len(self.rows) < SHOWN_ROWS:
            self.rows.append(row)

    def proposal(self, stage: str) -> str:
        """Return the `columns:` that read these rows; empty where that is not clear."""
        targets = likely_targets(self.rows, stage)
        return as_columns(targets) if targets else ""

    def lines(self, stage: str) -> list[str]:
        """Return the reason, the columns with two values each, and the number of such rows."""
        error = ask_for_columns(self.rows, stage, self.error)
        described = [printable(f"{self.place} {error.reason}")]
        described += shown_values(self.rows)[:MOST_COLUMNS]
        if self.count > 1:
            more = self.count - 1
            described.append(
                text(
                    f"  and {counted(more, 'more row')} with these columns",
                    f"  另有 {more} 行的列与此相同",
                )
            )
        return described


@dataclass
class UnknownColumns:
    """All rows with unknown columns, by their file and columns."""

    groups: dict[tuple[str, tuple[str, ...]], UnknownRows] = field(default_factory=dict)

    def add(self, place: tuple[str, int], row: Row, error: RowError) -> None:
        """Count a row that no format reads; others are not counted."""
        if error.kind == UNKNOWN_COLUMNS:
            file, line = place
            group = self.groups.setdefault((file, tuple(row)), UnknownRows(f"{file}:{line}", error))
            group.add(row)

    def main(self, rows: int) -> UnknownRows | None:
        """Return the rows that are most of all rows: then the set is unknown, not a few rows."""
        groups = self.groups.values()
        return next((group for group in groups if group.count * 2 > rows), None)
