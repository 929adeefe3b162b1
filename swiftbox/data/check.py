"""Check every row before anything heavy starts; return the examples as a list or one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.data.example import NOTHING_TO_LEARN, Example, RowError
from swiftbox.data.files import ChosenFiles, files_of, rows_of
from swiftbox.data.findings import BadRow, CheckedRows, RowRenderer, require_usable
from swiftbox.data.formats import LABELLED, read_row
from swiftbox.data.labels import with_labels
from swiftbox.data.progress import report_row
from swiftbox.data.renaming import require_known_names, require_present
from swiftbox.data.report import Preferences
from swiftbox.data.sampling import Origin, is_taken_once, is_uniform, sampling_of
from swiftbox.data.source import RowSource
from swiftbox.data.splits import parse_split


def check_rows(
    sources: Iterable[RowSource],
    *,
    stage: str,
    max_bad_rows: int,
    renderer: RowRenderer | None = None,
) -> CheckedRows:
    """Check every row of local datasets; raise DataError with all bad rows if they are too many.

    With a `renderer`, the rows that it refuses are bad too.
    """
    rows = Examples(tuple(sources), stage, max_bad_rows, 0, counts_repeats=True, renderer=renderer)
    rows.check()
    return rows.checked


def iterate_examples(
    sources: Iterable[RowSource],
    *,
    stage: str,
    max_bad_rows: int,
    seed: int,
    renderer: RowRenderer | None = None,
) -> Examples:
    """Return the examples in order, without keeping them in memory; checks every row.

    Repeated rows are not counted: that would take memory for every row. With a `renderer`, the
    caller renders what `is_deferred`, and accepts it or refuses it at the end; then it calls
    `require_usable`.
    """
    return Examples(
        tuple(sources), stage, max_bad_rows, seed, renderer=renderer, defers=renderer is not None
    )


@dataclass
class Examples:
    """The examples of datasets, each with its origin; at the end, `checked` holds the totals.

    A source that is sampled or repeated in part is read a second time. Raises DataError at the end
    if more than `max_bad_rows` are bad.
    """

    sources: tuple[RowSource, ...]
    stage: str
    max_bad_rows: int
    seed: int
    counts_repeats: bool = False
    """Whether to count repeated rows, which takes some 60 bytes per row."""
    renderer: RowRenderer | None = None
    """Renders each good row once; None: rows are not rendered here."""
    defers: bool = False
    """Whether the caller renders the examples that it gets, unless `is_rendered`."""
    is_rendered: bool = False
    """Whether the examples that are yielded now have been rendered already."""
    checked: CheckedRows = field(default_factory=CheckedRows)
    _empty: list[str] = field(default_factory=list)
    _unseen: set[str] = field(default_factory=set)
    """Columns to rename that no row has so far."""

    def __iter__(self) -> Iterator[tuple[Example, Origin]]:
        self._begin()
        judge = self.stage in LABELLED
        for source in self.sources:
            for example, origin in self._taken(source, files_of(source)):
                if judge:
                    for labelled in with_labels(example):
                        yield labelled, origin
                else:
                    yield example, origin
        if not self.defers:
            self.require_usable()

    @property
    def is_deferred(self) -> bool:
        """Whether the caller renders the examples that are yielded now, and counts them."""
        return self.defers and not self.is_rendered

    def accept(self, example: Example, texts: int = 1) -> None:
        """Count a good example: what nobody read or was cut off, and the statistics of pairs."""
        self.checked.count(example, texts)
        if example.rejected or example.label is not None:
            self._report().add(example)

    def refuse(self, rows: Sequence[tuple[int, BadRow]]) -> None:
        """Count examples as bad that were yielded as good, when all are read.

        Each comes with the number of bad rows that were known when it was yielded.
        """
        checked = self.checked
        for position, row in reversed(rows):
            if row.kind == NOTHING_TO_LEARN:
                checked.unlearned.insert(0, row)
            else:
                checked.bad.insert(position, row)
        checked.rows -= len(rows)
        checked.taken -= len(rows)

    def require_usable(self) -> None:
        """Raise DataError if too many rows are bad, or a dataset has no rows."""
        require_usable(self.checked, self.max_bad_rows, self._empty)

    def check(self) -> None:
        """Check every row once, without yielding examples."""
        self._begin()
        require_known_names(self.sources, self.stage)
        for source in self.sources:
            for _ in self._good(source, files_of(source), set()):
                pass
        require_present(self._unseen, self.sources)
        self.require_usable()

    def _begin(self) -> None:
        account = self.renderer.account if self.renderer else None
        self.checked = CheckedRows(stage=self.stage, account=account)
        self._empty = []
        self._unseen = {column for source in self.sources for column in source.renamed}

    def _taken(self, source: RowSource, chosen: ChosenFiles) -> Iterator[tuple[Example, Origin]]:
        """Yield the examples taken from a source, repeated ones as often as they are taken."""
        bad: set[int] = set()
        before = self.checked.rows
        passes_done = 0
        # What is sampled depends on the number of good rows, a row that is taken twice is bad once,
        # and a pair is judged as two examples.
        self.is_rendered = not is_taken_once(source) or self.stage in LABELLED
        if is_uniform(source):
            yield from self._good(source, chosen, bad)
            passes_done = 1
        else:
            for _ in self._good(source, chosen, bad):
                pass
        sampling = sampling_of(source, self.checked.rows - before, self.seed)
        for number in range(passes_done, sampling.passes):
            chosen_rows = sampling.choices(number)
            for index, (file, line, row) in enumerate(rows_of(source, chosen)):
                if index not in bad and next(chosen_rows, False) and not isinstance(row, RowError):
                    yield read_row(row, self.stage)[1], (file, line)

    def _good(
        self, source: RowSource, chosen: ChosenFiles, bad: set[int]
    ) -> Iterator[tuple[Example, Origin]]:
        """Yield and count every good row of a source once; add the indices of others to `bad`."""
        checked, hashes, stage = self.checked, self.checked.hashes, self.stage
        checked.left_out += [chosen.label(file) for file in chosen.left_out]
        checked.readings.add(chosen)
        formats: Counter[str] = Counter()
        answers = _answers(checked)
        for index, (file, line, row) in enumerate(rows_of(source, chosen, self._unseen)):
            report_row()
            try:
                if isinstance(row, RowError):
                    raise row
                name, example = read_row(row, stage)
                texts = self._render(example, f"{file}:{line}")
            except RowError as error:
                checked.refuse(BadRow(file, line, error.kind, error.en, error.zh))
                if not isinstance(row, RowError):
                    checked.unknown.add((file, line), row, error)
                bad.add(index)
                continue
            formats[name] += 1
            if self.counts_repeats:
                key = _hash(example)
                if key in hashes:
                    checked.duplicates += 1
                else:
                    hashes.add(key)
            if not self.is_deferred:
                self.accept(example, texts)
            yield example, (file, line)
        self._count(source, formats, answers, empty=not formats and not bad)

    def _render(self, example: Example, place: str) -> int:
        """Render an example as it is trained on; return the number of texts of a conversation.

        Raises RowError if it cannot be rendered.
        """
        if self.renderer is None or self.is_deferred:
            return 1
        if self.stage in LABELLED:
            for labelled in with_labels(example):
                self.renderer.render(labelled, place)
            return 1
        texts = self.renderer.render(example, place)
        return 1 if example.rejected else texts

    def _report(self) -> Preferences:
        """Return the counts over pairs and labelled answers; created with the first of them."""
        report = self.checked.preferences
        if report is None:
            prompts: set[int] | None = set() if self.counts_repeats else None
            report = self.checked.preferences = Preferences(self.stage in LABELLED, prompts)
        return report

    def _count(
        self, source: RowSource, formats: Counter[str], answers: tuple[int, int], *, empty: bool
    ) -> None:
        """Add a source that was read to its end to the totals."""
        checked = self.checked
        good = formats.total()
        total = sampling_of(source, good, self.seed).total
        checked.formats += formats
        checked.rows += good
        checked.taken += total
        checked.lengths.taken += total
        if source.num_samples is not None and source.num_samples > good:
            checked.short.append(f"{Path(source.path).name}#{source.num_samples}")
        if source.weight is not None:
            checked.weights.append(f"{Path(source.path).name} x {source.weight:g}")
        if parse_split(source.split, source.path).takes_part:
            checked.weights.append(f"{Path(source.path).name} {source.split}")
        if checked.preferences is not None and good:
            checked.preferences.weigh(answers, total / good)
        if empty:
            self._empty.append(source.path)


def _answers(checked: CheckedRows) -> tuple[int, int]:
    report = checked.preferences
    return (report.desirable, report.undesirable) if report else (0, 0)


def _hash(example: Example) -> int:
    """Return a hash that equal examples share (64 bits: 10**7 rows do not collide by chance)."""
    parts: list[object] = [example.text, example.label]
    for message in example.messages:
        parts += (message.role, message.content, message.weight)
        if message.tool_calls or message.extra:
            parts.append(repr((message.tool_calls, message.extra)))
    if example.tools:
        parts.append(repr(example.tools))
    if example.rejected:
        parts.append(_hash(Example(example.rejected)))
    if example.columns:
        parts.append(repr(example.columns))
    if example.target is not None:
        parts.append(repr((example.second, example.target)))
    return hash(tuple(parts))
