"""Look at every row before anything heavy starts, and give the examples, all or one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.data.example import Example, RowError
from swiftbox.data.files import Chosen, dataset_hash, files_of, rows_of
from swiftbox.data.findings import BadRow, CheckedRows, require_usable
from swiftbox.data.formats import LABELLED, read_row
from swiftbox.data.labels import judged
from swiftbox.data.report import Preferences
from swiftbox.data.source import RowSource
from swiftbox.data.taking import Origin, is_known, taking_of

__all__ = [
    "BadRow",
    "CheckedRows",
    "Examples",
    "check_rows",
    "dataset_hash",
    "iterate_examples",
    "load_examples",
]


def check_rows(sources: Iterable[RowSource], *, stage: str, max_bad_rows: int) -> CheckedRows:
    """Check every row of local datasets; raise DataError with all bad rows when too many are."""
    found = Examples(tuple(sources), stage, max_bad_rows, seed=0, remembers=True)
    found.check()
    return found.checked


def load_examples(
    sources: Iterable[RowSource], *, stage: str, max_bad_rows: int, seed: int
) -> CheckedRows:
    """Check every row and return the examples; a source with num_samples gives a seeded sample."""
    found = Examples(tuple(sources), stage, max_bad_rows, seed, remembers=True)
    examples, origins = [], []
    for example, origin in found:
        examples.append(example)
        origins.append(origin)
    found.checked.examples, found.checked.origins = examples, origins
    return found.checked


def iterate_examples(
    sources: Iterable[RowSource], *, stage: str, max_bad_rows: int, seed: int
) -> Examples:
    """Return the same examples in the same order to go through, none of them kept in memory.

    Rows that repeat are not counted: that would remember every row.
    """
    return Examples(tuple(sources), stage, max_bad_rows, seed)


@dataclass
class Examples:
    """The examples of datasets, each with its origin; once exhausted, `checked` has the totals.

    A source of which a sample or a fraction is taken is read once more for it. Raises DataError at
    the end when more than `max_bad_rows` are bad.
    """

    sources: tuple[RowSource, ...]
    stage: str
    max_bad_rows: int
    seed: int
    remembers: bool = False
    """Whether rows are remembered (some 60 bytes each) to count those that repeat."""
    checked: CheckedRows = field(default_factory=CheckedRows)
    _seen: set[int] | None = None
    _empty: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Example, Origin]]:
        self._begin()
        judge = self.stage in LABELLED
        for source in self.sources:
            for example, origin in self._taken(source, files_of(source)):
                if judge:
                    for one in judged(example):
                        yield one, origin
                else:
                    yield example, origin
        require_usable(self.checked, self.max_bad_rows, self._empty)

    def check(self) -> None:
        """Look at every row once, without taking any."""
        self._begin()
        for source in self.sources:
            for _ in self._good(source, files_of(source), set()):
                pass
        require_usable(self.checked, self.max_bad_rows, self._empty)

    def _begin(self) -> None:
        self.checked = CheckedRows()
        self._seen = set() if self.remembers else None
        self._empty = []

    def _taken(self, source: RowSource, chosen: Chosen) -> Iterator[tuple[Example, Origin]]:
        """Yield the examples that are taken of a source, as often as they are."""
        bad: set[int] = set()
        before = self.checked.rows
        done = 0
        if is_known(source):
            yield from self._good(source, chosen, bad)
            done = 1
        else:
            for _ in self._good(source, chosen, bad):
                pass
        taking = taking_of(source, self.checked.rows - before, self.seed)
        for number in range(done, taking.passes):
            picked = taking.picked(number)
            for at, (file, line, row) in enumerate(rows_of(source, chosen)):
                if at not in bad and next(picked, False) and not isinstance(row, RowError):
                    yield read_row(row, self.stage)[1], (file, line)

    def _good(
        self, source: RowSource, chosen: Chosen, bad: set[int]
    ) -> Iterator[tuple[Example, Origin]]:
        """Yield every good row of a source once, and count; put the numbers of others in `bad`."""
        checked, seen, stage = self.checked, self._seen, self.stage
        checked.left_out += [chosen.label(file) for file in chosen.left_out]
        found: Counter[str] = Counter()
        answers = _answers(checked)
        for at, (file, line, row) in enumerate(rows_of(source, chosen)):
            try:
                if isinstance(row, RowError):
                    raise row
                name, example = read_row(row, stage)
            except RowError as error:
                checked.bad.append(BadRow(file, line, error.kind, error.en, error.zh))
                bad.add(at)
                continue
            found[name] += 1
            if seen is not None:
                key = _key(example)
                if key in seen:
                    checked.duplicates += 1
                else:
                    seen.add(key)
            checked.lengths.add(example)
            if example.rejected or example.label is not None:
                self._report().add(example)
            yield example, (file, line)
        self._count(source, found, answers, empty=not found and not bad)

    def _report(self) -> Preferences:
        """Return the counts over pairs and labelled answers, begun with the first of them."""
        report = self.checked.preferences
        if report is None:
            prompts: set[int] | None = set() if self.remembers else None
            report = self.checked.preferences = Preferences(self.stage in LABELLED, prompts)
        return report

    def _count(
        self, source: RowSource, found: Counter[str], answers: tuple[int, int], *, empty: bool
    ) -> None:
        """Add a source that was read to the end to the totals."""
        checked = self.checked
        good = found.total()
        total = taking_of(source, good, self.seed).total
        checked.formats += found
        checked.rows += good
        checked.taken += total
        checked.lengths.taken += total
        if source.weight is not None:
            checked.weights.append(f"{Path(source.path).name} x {source.weight:g}")
        if checked.preferences is not None and good:
            checked.preferences.weigh(answers, total / good)
        if empty:
            self._empty.append(source.path)


def _answers(checked: CheckedRows) -> tuple[int, int]:
    report = checked.preferences
    return (report.desirable, report.undesirable) if report else (0, 0)


def _key(example: Example) -> int:
    """Return a number that equal examples share (64 bits: 10**7 rows do not clash by chance)."""
    parts: list[object] = [example.text, example.label]
    for message in example.messages:
        parts += (message.role, message.content)
        if message.tool_calls or message.extra:
            parts.append(repr((message.tool_calls, message.extra)))
    if example.tools:
        parts.append(repr(example.tools))
    if example.rejected:
        parts.append(_key(Example(example.rejected)))
    if example.columns:
        parts.append(repr(example.columns))
    return hash(tuple(parts))
