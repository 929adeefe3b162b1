"""The result of checking a dataset: its rows, the bad ones, the statistics of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from swiftbox.data.column_names import UNUSED
from swiftbox.data.example import NOTHING_TO_LEARN, UNKNOWN_COLUMNS, Example
from swiftbox.data.formats import column_targets
from swiftbox.data.lengths import Lengths
from swiftbox.data.preferences import IDENTICAL
from swiftbox.data.readings import FileReadings
from swiftbox.data.report import Preferences, lines
from swiftbox.data.unknown_columns import UnknownColumns
from swiftbox.errors import DataError
from swiftbox.formatting import counted, is_or_are
from swiftbox.language import text
from swiftbox.security.printable import printable

MOST_LISTED = 200
"""Bad rows that are listed; a file with more has one cause, not thousands."""

MOST_ALIKE = 5
"""Rows of a file with the same reason that are listed one by one."""

MOST_RANGES = 20
"""Ranges of line numbers that are listed; of more the first."""

MOST_UNUSED = 30
"""Columns without use that are listed; a table of more says no more."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be trained on: its place and the reason in both languages."""

    file: str
    line: int
    kind: str
    en: str
    zh: str

    @property
    def place(self) -> str:
        """Return the file and the line."""
        return printable(f"{self.file}:{self.line}")

    @property
    def reason(self) -> str:
        """Return the reason in the current language."""
        return text(self.en, self.zh)

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line} {self.reason}")


class RowAccount(Protocol):
    """What happened to the words of rows while they were rendered (templates/account.py)."""

    def lines(self) -> list[str]:
        """Return a line for each kind of event, in the current language."""

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values."""


class RowRenderer(Protocol):
    """Renders examples as the training does (templates/examples.py)."""

    @property
    def account(self) -> RowAccount:
        """Return what happened to the rows that were rendered so far."""

    def render(self, example: Example, place: str) -> int:
        """Render an example from `file:line`; return the number of its texts.

        Raises RowError if it cannot be trained on.
        """


@dataclass
class CheckedRows:
    """The result of a check: counts, bad rows, statistics.

    `rows` counts all good rows, `taken` those that an epoch uses (`#500` takes 500, a weight of 2
    takes each twice). A pair is two examples for kto.
    """

    stage: str = ""
    rows: int = 0
    taken: int = 0
    duplicates: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    bad: list[BadRow] = field(default_factory=list)
    unknown: UnknownColumns = field(default_factory=UnknownColumns)
    """Bad rows whose columns no format reads."""
    unused: Counter[str] = field(default_factory=Counter)
    """Columns and keys of turns that nobody read, with the number of rows that fill them."""
    unlearned: list[BadRow] = field(default_factory=list)
    """Rows that are skipped because all their turns have weight 0."""
    cut_rows: int = 0
    """Rows with turns after their last answer, which are cut off."""
    left_out: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    """The datasets with a weight or a part, as `set.jsonl x 2` and `set.jsonl train[:1%]`."""
    short: list[str] = field(default_factory=list)
    """The datasets with fewer rows than requested, as `set.jsonl#500`."""
    validation: CheckedRows | None = None
    """The result of checking the rows of `val_dataset`, if any."""
    readings: FileReadings = field(default_factory=FileReadings)
    """The files that are not plain UTF-8."""
    preferences: Preferences | None = None
    lengths: Lengths = field(default_factory=Lengths)
    """Lengths of the good rows, to estimate the time."""
    account: RowAccount | None = None
    """What the chat template does to the rows; None if they were not rendered."""

    hashes: set[int] = field(default_factory=set, repr=False)
    """Hashes of the good rows, until they are compared with those that are held out."""

    def take_hashes(self) -> set[int]:
        """Return the hashes and let go of them: they take memory for every row."""
        hashes, self.hashes = self.hashes, set()
        return hashes

    def count(self, example: Example, texts: int = 1) -> None:
        """Count a good row: its length, what was cut off and what nobody read.

        `texts` is the number of texts that a conversation is rendered to.
        """
        self.lengths.add(example, texts)
        self.cut_rows += bool(example.cut)
        if example.unused:
            self.unused.update(example.unused)

    def refuse(self, row: BadRow) -> None:
        """Count a row that is not trained on: a bad one, or one with nothing to learn."""
        (self.unlearned if row.kind == NOTHING_TO_LEARN else self.bad).append(row)

    def summary(self) -> str:
        """Return a summary line, and more lines on files, templates, pairs and held-out rows."""
        preferences = self.preference_data()
        described = [self._counts(), *unused_lines(self.unused), *self.readings.lines()]
        described += self.account.lines() if self.account is not None else ()
        described += lines(preferences) if preferences else ()
        if self.validation is not None:
            described.append(text("held out ", "验证") + self.validation.summary())
        return "\n".join(described)

    def _counts(self) -> str:
        listed = ", ".join(f"{count} {name}" for name, count in self.formats.most_common())
        line = text(f"rows: {self.rows} ({listed})", f"数据：{self.rows} 行（{listed}）")
        if self.taken != self.rows or self.weights:
            line += text(f", {self.taken} taken", f"，取 {self.taken} 行")
        if self.weights:
            line += text(f" ({', '.join(self.weights)})", f"（{'，'.join(self.weights)}）")
        if self.bad:
            bad_rows = counted(len(self.bad), "bad row")
            line += text(f", {bad_rows} skipped", f"，跳过 {len(self.bad)} 个坏行")
        if self.unlearned:
            count, first = len(self.unlearned), self.unlearned[0].place
            line += text(
                f", {counted(count, 'row')} with nothing to learn skipped (first: {first})",
                f"，跳过 {count} 行没有可学习内容的数据（第一处：{first}）",
            )
        if self.cut_rows:
            rows = "1 row has" if self.cut_rows == 1 else f"{self.cut_rows} rows have"
            line += text(
                f", {rows} turns after the last answer, which are cut off",
                f"，{self.cut_rows} 行在最后的回答之后还有轮次，已截去",
            )
        if self.duplicates:
            copies = counted(self.duplicates, "exact duplicate")
            line += text(f", {copies}", f"，{self.duplicates} 行完全重复")
        if self.left_out:
            names = ", ".join(self.left_out[:8]) + (" ..." if len(self.left_out) > 8 else "")
            line += text(
                f", not read (another split): {names}", f"，未读取（属于其他划分）：{names}"
            )
        if self.short:
            names = ", ".join(self.short)
            line += text(f"; fewer rows than requested in {names}", f"；{names} 的行数少于要求")
        return line

    def preference_data(self) -> dict[str, Any] | None:
        """Return the statistics of pairs and labelled answers; None where there are none."""
        if self.preferences is None:
            return None
        identical = sum(row.kind == IDENTICAL for row in self.bad)
        return {
            **self.preferences.data(),
            "identical": identical,
            "duplicates": self.duplicates,
        }

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "rows": self.rows,
            "taken": self.taken,
            "bad": len(self.bad),
            "unlearned": len(self.unlearned),
            "unused": dict(self.unused),
            "cut_rows": self.cut_rows,
            "duplicates": self.duplicates,
            "formats": dict(self.formats),
            "left_out": self.left_out,
            "readings": self.readings.data(),
            "validation": self.validation.data() if self.validation else None,
            "preferences": self.preference_data(),
            "account": self.account.data() if self.account is not None else None,
        }


def unused_lines(unused: Mapping[str, int]) -> list[str]:
    """Name the columns that nobody read, with the number of rows that fill them."""
    if not unused:
        return []
    names = [f"{printable(name)} ({count})" for name, count in sorted(unused.items())]
    listed = ", ".join(names[:MOST_UNUSED]) + (" ..." if len(names) > MOST_UNUSED else "")
    return [text(f"columns not used: {listed}", f"未使用的列：{listed}")]


def require_usable(checked: CheckedRows, max_bad_rows: int, empty: Sequence[str]) -> None:
    """Raise DataError if too many rows are bad or a dataset (named in `empty`) has no rows."""
    if len(checked.bad) > max_bad_rows:
        raise _too_many(checked, max_bad_rows)
    hint = text("check the file", "请检查文件")
    if empty:
        paths = ", ".join(empty)
        raise DataError(
            text(f"dataset: {paths}: there are no rows", f"dataset：{paths}：没有任何数据行"),
            hint=hint,
        )
    if not checked.rows:
        raise _no_rows(checked, hint)


def _no_rows(checked: CheckedRows, hint: str) -> DataError:
    """Describe a dataset whose rows are all bad or have nothing to learn."""
    refused = [*checked.bad, *checked.unlearned]
    if not refused:
        return DataError(text("dataset: there are no rows", "dataset：没有任何数据行"), hint=hint)
    count = len(refused)
    if not checked.bad:
        all_rows = "the only row has" if count == 1 else f"all of {count} rows have"
        en, zh = f"{all_rows} nothing to learn", f"{count} 行全部没有可学习的内容"
        hint = text(
            "give an assistant turn a weight above 0, or remove the key",
            "请给某个 assistant 轮次大于 0 的权重，或去掉该键",
        )
    else:
        all_rows = "the only row is" if count == 1 else f"all of {count} rows are"
        en, zh = f"{all_rows} bad", f"{count} 行全部有问题"
    return DataError(
        text(f"dataset: {en}: {refused[0]}", f"dataset：{zh}：{refused[0]}"), hint=hint
    )


def _too_many(checked: CheckedRows, max_bad_rows: int) -> DataError:
    """Describe all bad rows of a check as one error."""
    bad = checked.bad
    total = checked.rows + len(bad)
    kinds = len({row.kind for row in bad})
    unknown = checked.unknown.main(total)
    listed = unknown.lines(checked.stage) if unknown else []
    others = [row for row in bad if row.kind != UNKNOWN_COLUMNS] if unknown else bad
    listed += _listed(others)
    listed.append(
        text(
            f"{len(bad):,} of {counted(total, 'row')} {is_or_are(len(bad))} bad "
            f"({counted(kinds, 'kind')})",
            f"{total} 行中有 {len(bad)} 行有问题（{kinds} 类）",
        )
    )
    return DataError("\n".join(listed), hint=_cure(checked, max_bad_rows))


def _listed(bad: Sequence[BadRow]) -> list[str]:
    """Return a line for each bad row; of many with one reason the first, and the other lines."""
    alike: dict[tuple[str, str], list[BadRow]] = {}
    for row in bad:
        alike.setdefault((row.file, row.en), []).append(row)
    listed: list[str] = []
    count = 0
    for row in bad:
        rows = alike[row.file, row.en]
        if len(rows) > MOST_ALIKE and row is not rows[0]:
            continue
        count += 1
        if count <= MOST_LISTED:
            listed += [str(row), *_others(rows)]
    if count > MOST_LISTED:
        more = count - MOST_LISTED
        listed.append(text(f"and {more} more", f"以及另外 {more} 行"))
    return listed


def _others(rows: Sequence[BadRow]) -> list[str]:
    """Name the lines of rows with the reason of the first; nothing where each is listed."""
    if len(rows) <= MOST_ALIKE:
        return []
    lines, more = line_ranges([row.line for row in rows[1:]]), len(rows) - 1
    return [
        text(
            f"  and {counted(more, 'more row')} with this reason: lines {lines}",
            f"  另有 {more} 行原因相同：第 {lines} 行",
        )
    ]


def line_ranges(lines: Iterable[int]) -> str:
    """Return line numbers as ranges, such as `4-40, 44`; the first ones of many."""
    ranges: list[list[int]] = []
    for line in sorted(lines):
        if ranges and line <= ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return text(", ", "、").join(shown[:MOST_RANGES]) + (" ..." if len(shown) > MOST_RANGES else "")


def _cure(checked: CheckedRows, max_bad_rows: int) -> str:
    """Say what helps: the columns of an unknown set, or to skip rows where others are left."""
    unknown = checked.unknown.main(checked.rows + len(checked.bad))
    if unknown and (proposal := unknown.proposal(checked.stage)):
        return text(
            f"if the values fit, add columns: {proposal}; {UNUSED} leaves a column out",
            f"若与列值相符，请加上 columns: {proposal}；{UNUSED} 表示忽略该列",
        )
    if unknown:
        names = ", ".join(column_targets(checked.stage))
        return text(
            f"say which column is which: columns: {{NAME: ...}} with {names}",
            f"请说明各列的含义：columns: {{列名: ...}}，可用 {names}",
        )
    bad = len(checked.bad)
    if not checked.rows:
        return text(
            "none of the rows can be used: change the settings or the file as the reasons say",
            "没有一行可用：请按上述原因修改设置或文件",
        )
    return text(
        f"fix them, or skip and count them: max_bad_rows={bad} (now {max_bad_rows})",
        f"请修正，或设 max_bad_rows={bad} 跳过并计数（当前为 {max_bad_rows}）",
    )
