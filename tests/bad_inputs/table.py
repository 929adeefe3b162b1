"""The table of bad inputs: `python tests/bad_inputs/table.py [GROUP ...]` runs all and prints it.

A row for each group: cases, how many `check` refuses, how many only `run` refuses, how many are
used with a note, how many are answered wrongly, and the longest answer in seconds of the processor.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bad_inputs.case import BadInput
from bad_inputs.groups import GROUPS
from bad_inputs.outcome import defects, outcome_of

COLUMNS = ("group", "cases", "check", "run only", "noted", "wrong", "longest s")


@dataclass
class GroupRow:
    """The counts of one group."""

    name: str
    cases: int = 0
    only_run: int = 0
    noted: int = 0
    longest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, case: BadInput, folder: Path | None = None) -> None:
        """Count a case; with a folder for its files, run it there."""
        self.cases += 1
        self.only_run += case.only_run
        self.noted += case.code == 0
        if folder is not None:
            outcome = outcome_of(case, folder)
            self.longest_s = max(self.longest_s, outcome.processor_s)
            if problems := defects(case, outcome):
                self.wrong.append(f"{self.name}-{case.name}: {'; '.join(problems)}")

    def line(self) -> str:
        """Return the row as text."""
        by_check = self.cases - self.only_run - self.noted
        counts = (self.cases, by_check, self.only_run, self.noted, len(self.wrong))
        cells = "".join(f"{count:>10}" for count in counts)
        return f"{self.name:<12}{cells}{self.longest_s:>10.1f}"


def counted_rows() -> list[GroupRow]:
    """Return the rows without running a case."""
    rows = []
    for name, cases in GROUPS.items():
        row = GroupRow(name)
        for case in cases():
            row.add(case)
        rows.append(row)
    return rows


def main(names: Sequence[str]) -> int:
    """Run the groups of these names, by default all; print the table and what is wrong."""
    print(f"{COLUMNS[0]:<12}" + "".join(f"{column:>10}" for column in COLUMNS[1:]))
    wrong: list[str] = []
    for name in names or GROUPS:
        row = GroupRow(name)
        for case in GROUPS[name]():
            with tempfile.TemporaryDirectory() as folder:
                row.add(case, Path(folder) / "case")
        print(row.line(), flush=True)
        wrong += row.wrong
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
