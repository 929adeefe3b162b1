"""Look at every row before anything heavy starts; report all that is wrong, once, with lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swiftbox.data.example import Example, RowError
from swiftbox.data.files import Chosen, dataset_hash, files_of, rows_of
from swiftbox.data.formats import read_row
from swiftbox.data.report import Report
from swiftbox.data.sample import Deliver, Giving, Origin, Sample
from swiftbox.data.source import Source
from swiftbox.errors import DataError
from swiftbox.language import text

__all__ = [
    "BadRow",
    "Checked",
    "check_rows",
    "dataset_hash",
    "deliver_examples",
    "load_examples",
]

MOST_LISTED = 200
"""Bad rows listed one by one; a file with more has one cause, not thousands."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be trained on: where it stands and why, in both languages."""

    file: str
    line: int
    kind: str
    en: str
    zh: str

    @property
    def reason(self) -> str:
        """Return why, in the current language."""
        return text(self.en, self.zh)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.reason}"


@dataclass
class Checked:
    """What a check found; the examples and their origins only where they were asked for.

    `rows` are all good ones, `taken` those of them that the run uses (`#500` takes 500).
    """

    rows: int = 0
    taken: int = 0
    duplicates: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    bad: list[BadRow] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    def summary(self) -> str:
        """Return a line for people, and those of the report on preferences."""
        listed = ", ".join(f"{count} {name}" for name, count in self.formats.most_common())
        line = text(f"rows: {self.rows} ({listed})", f"数据：{self.rows} 行（{listed}）")
        if self.taken != self.rows:
            line += text(f", {self.taken} taken", f"，取 {self.taken} 行")
        if self.bad:
            rows = "row" if len(self.bad) == 1 else "rows"
            line += text(f", {len(self.bad)} bad {rows} skipped", f"，跳过 {len(self.bad)} 个坏行")
        if self.duplicates:
            copies = "duplicate" if self.duplicates == 1 else "duplicates"
            line += text(f", {self.duplicates} exact {copies}", f"，{self.duplicates} 行完全重复")
        if self.left_out:
            names = ", ".join(self.left_out[:8]) + (" ..." if len(self.left_out) > 8 else "")
            line += text(
                f", not read (another split): {names}", f"，未读取（属于其他 split）：{names}"
            )
        return "\n".join([line, *self.report.lines()])


def check_rows(sources: Iterable[Source], *, stage: str, max_bad_rows: int) -> Checked:
    """Check every row of local datasets; raise DataError with all bad rows when too many are."""
    return _check(sources, stage=stage, max_bad_rows=max_bad_rows, giving=None)


def load_examples(
    sources: Iterable[Source], *, stage: str, max_bad_rows: int, seed: int
) -> Checked:
    """Check every row and return the examples; a source with num_samples gives a seeded sample."""
    examples: list[Example] = []
    origins: list[Origin] = []

    def keep(example: Example, origin: Origin) -> None:
        examples.append(example)
        origins.append(origin)

    checked = deliver_examples(sources, keep, stage=stage, max_bad_rows=max_bad_rows, seed=seed)
    checked.examples, checked.origins = examples, origins
    return checked


def deliver_examples(
    sources: Iterable[Source], deliver: Deliver, *, stage: str, max_bad_rows: int, seed: int
) -> Checked:
    """Check every row and hand each example on as it is read, so that none has to be kept.

    Only a source with num_samples is kept until its end, as many rows as it gives. A source with
    a weight gives each row so many times, a fraction by a seeded draw.
    """
    return _check(sources, stage=stage, max_bad_rows=max_bad_rows, giving=Giving(deliver, seed))


def _check(
    sources: Iterable[Source], *, stage: str, max_bad_rows: int, giving: Giving | None
) -> Checked:
    """Check every row; give the examples on where somebody takes them."""
    checked = Checked()
    seen: set[int] = set()
    empty: list[str] = []
    for source in sources:
        chosen = files_of(source)
        checked.left_out += [chosen.label(file) for file in chosen.left_out]
        before = checked.rows + len(checked.bad)
        sample = giving.sample(source) if giving else None
        good = _check_source(checked, source, chosen, stage=stage, seen=seen, sample=sample)
        taken = good if source.num_samples is None else min(good, source.num_samples)
        if sample:
            sample.finish()
        checked.taken += round(taken * (source.weight or 1.0))
        if checked.rows + len(checked.bad) == before:
            empty.append(source.path)
    if len(checked.bad) > max_bad_rows:
        raise too_many(checked, max_bad_rows)
    _require_rows(checked, empty)
    return checked


def _check_source(
    checked: Checked,
    source: Source,
    chosen: Chosen,
    *,
    stage: str,
    seen: set[int],
    sample: Sample | None,
) -> int:
    """Check the rows of one source into `checked`; return the number of good ones."""
    found: Counter[str] = Counter()
    for file, line, row in rows_of(source, chosen):
        try:
            if isinstance(row, RowError):
                raise row
            name, example = read_row(row, stage)
        except RowError as error:
            checked.bad.append(BadRow(file, line, error.kind, error.en, error.zh))
            continue
        found[name] += 1
        checked.report.add(example)
        key = _key(example)
        if key in seen:
            checked.duplicates += 1
        else:
            seen.add(key)
        if sample is not None:
            sample.add(example, (file, line))
    good = found.total()
    checked.formats += found
    checked.rows += good
    return good


def _key(example: Example) -> int:
    """Return a number that equal examples share (64 bits: 10**7 rows do not clash by chance)."""
    parts: list[str | None] = [example.text]
    for message in example.messages:
        parts += (message.role, message.content)
        if message.tool_calls or message.extra:
            parts.append(repr((message.tool_calls, message.extra)))
    if example.rejected or example.label is not None or example.columns:
        parts.append(repr((example.rejected, example.label, example.columns)))
    if example.tools:
        parts.append(repr(example.tools))
    return hash(tuple(parts))


def _require_rows(checked: Checked, empty: list[str]) -> None:
    hint = text("check the file", "请检查文件")
    if empty:
        paths = ", ".join(empty)
        raise DataError(
            text(f"dataset: {paths}: there are no rows", f"dataset：{paths}：没有任何数据行"),
            hint=hint,
        )
    if not checked.rows:
        raise DataError(
            text(
                f"dataset: all of {len(checked.bad)} rows are bad: {checked.bad[0]}",
                f"dataset：{len(checked.bad)} 行全部有问题：{checked.bad[0]}",
            )
            if checked.bad
            else text("dataset: there are no rows", "dataset：没有任何数据行"),
            hint=hint,
        )


def too_many(checked: Checked, max_bad_rows: int) -> DataError:
    """Describe all bad rows of a check as one error."""
    bad = checked.bad
    total = checked.rows + len(bad)
    kinds = len({one.kind for one in bad})
    lines = [str(one) for one in bad[:MOST_LISTED]]
    if len(bad) > MOST_LISTED:
        more = len(bad) - MOST_LISTED
        lines.append(text(f"and {more} more", f"以及另外 {more} 行"))
    lines.append(
        text(
            f"{len(bad)} of {total} rows {'is' if len(bad) == 1 else 'are'} bad "
            f"({kinds} {'kind' if kinds == 1 else 'kinds'})",
            f"{total} 行中有 {len(bad)} 行有问题（{kinds} 类）",
        )
    )
    return DataError(
        "\n".join(lines),
        hint=text(
            f"mend them, or let them be skipped and counted: max_bad_rows={len(bad)} "
            f"(now {max_bad_rows})",
            f"请修正，或设 max_bad_rows={len(bad)} 跳过并计数（当前为 {max_bad_rows}）",
        ),
    )
