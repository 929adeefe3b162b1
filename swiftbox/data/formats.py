"""The row formats: each one pure function row -> Example, chosen by the columns a row has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from swiftbox.data.cells import Row
from swiftbox.data.conversations import (
    ANSWERS,
    CONVERSATION_COLUMNS,
    PROMPT_COLUMNS,
    QUESTIONS,
    read_alpaca,
    read_messages,
    read_query,
    read_sharegpt,
    read_text,
)
from swiftbox.data.example import Example, RowError
from swiftbox.data.labels import LABELS, read_labelled, require_unlabelled, with_margin
from swiftbox.data.preferences import REJECTED, read_chosen, read_rejected
from swiftbox.data.prompts import read_prompt
from swiftbox.formatting import nearest

MEDIA = frozenset({"images", "videos", "audios", "image", "video", "audio"})

SFT = ("sft",)
PAIRED = ("dpo", "orpo", "simpo", "cpo", "reward", "kto")
"""Stages that learn from pairs; for kto a pair is a desirable and an undesirable answer."""
LABELLED = ("kto",)
PROMPTED = ("grpo",)
WITH_MARGINS = ("reward",)
"""Stages that use the margin of a pair."""

QUESTION = (*QUESTIONS, "instruction")


@dataclass(frozen=True)
class Format:
    """One way to write a row: its columns, the stages it serves, and how it is read.

    A row has this format if it has one column of each group and none of `unless`: a pair must not
    be learned as a conversation, although it contains one.
    """

    name: str
    stages: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Example]
    unless: tuple[str, ...] = ()

    def matches(self, columns: frozenset[str]) -> bool:
        """Return whether a row with these columns has this format."""
        return not self.missing(columns) and columns.isdisjoint(self.unless)

    def missing(self, columns: frozenset[str]) -> list[tuple[str, ...]]:
        """Return the groups of which a row with these columns has no column."""
        return [group for group in self.columns if columns.isdisjoint(group)]


FORMATS = (
    Format("messages", SFT, (("messages",),), read_messages, REJECTED),
    Format("sharegpt", SFT, (("conversations",),), read_sharegpt, REJECTED),
    Format("alpaca", SFT, (("instruction",), ("output",)), read_alpaca, REJECTED),
    Format("query-response", SFT, (QUESTIONS, ANSWERS), read_query, REJECTED),
    Format("text", ("pt",), (("text",),), read_text),
    Format("chosen-rejected", PAIRED, (("chosen",), ("rejected",)), read_chosen),
    Format("messages-rejected", PAIRED, (CONVERSATION_COLUMNS, REJECTED), read_rejected),
    Format("response-rejected", PAIRED, (QUESTION, ANSWERS, REJECTED), read_rejected),
    Format("messages-label", LABELLED, (CONVERSATION_COLUMNS, LABELS), read_labelled),
    Format("response-label", LABELLED, (QUESTION, ANSWERS, LABELS), read_labelled),
    Format("prompt", PROMPTED, (PROMPT_COLUMNS,), read_prompt),
)
"""The first format that matches the columns and the stage is used."""

KNOWN = frozenset(name for row_format in FORMATS for group in row_format.columns for name in group)
OPTIONAL = frozenset({"input", "system", "history", "tools"}) | MEDIA
"""Columns that formats may have in addition."""

CHECKED = MEDIA.union(LABELS)
"""Columns whose content may forbid training on a row."""


def read_row(row: Row, stage: str) -> tuple[str, Example]:
    """Return the name of a row's format and its example; raise RowError if it has none."""
    row_format = detect(frozenset(row), stage)
    if not CHECKED.isdisjoint(row):
        _require_no_media(row)
        if row_format.stages == SFT:
            require_unlabelled(row)
    example = row_format.read(row)
    return row_format.name, with_margin(example, row) if stage in WITH_MARGINS else example


def detect(columns: frozenset[str], stage: str) -> Format:
    """Choose the format of a row by its columns; raise RowError when none fits the stage."""
    choice = _choice(columns, stage)
    if isinstance(choice, RowError):
        raise RowError(
            choice.kind, choice.en, choice.zh
        )  # a cached exception would collect tracebacks
    return choice


@lru_cache(maxsize=256)
def _choice(columns: frozenset[str], stage: str) -> Format | RowError:
    matching = [candidate for candidate in FORMATS if candidate.matches(columns)]
    for candidate in matching:
        if stage in candidate.stages:
            return candidate
    # Nearly every row has a prompt and so matches grpo: that hardly shows what it is meant for.
    meant = [candidate for candidate in matching if candidate.stages != PROMPTED]
    usable = [candidate for candidate in FORMATS if stage in candidate.stages]
    if meant:
        other = max(meant, key=lambda candidate: len(candidate.columns))
        return _other_stage(columns, stage, other, usable)
    return _unknown(columns, stage, usable)


def _other_stage(
    columns: frozenset[str], stage: str, other: Format, usable: Iterable[Format]
) -> RowError:
    """Name the stages that use rows of a format, and the column that is missing for this one."""
    en = f"{other.name} rows are for stage: {_either(other.stages, ' or ')}, not {stage}"
    zh = f"{other.name} 格式的数据用于 stage: {_either(other.stages, ' 或 ')}，而不是 {stage}"
    near = [
        candidate
        for candidate in usable
        if len(candidate.columns) > 1 and len(candidate.missing(columns)) == 1
    ]
    if near:
        group = min(near, key=lambda candidate: len(candidate.stages)).missing(columns)[0]
        en += f" (for {stage} they also need {_either(group, ' or ')})"
        zh += f"（用于 {stage} 还需要列 {_either(group, ' 或 ')}）"
    return RowError("stage", en, zh)


def _either(names: tuple[str, ...], last: str) -> str:
    return last.join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _unknown(columns: frozenset[str], stage: str, usable: Iterable[Format]) -> RowError:
    listed = ", ".join(sorted(columns)) or "-"
    names = sorted({name for candidate in usable for group in candidate.columns for name in group})
    for column in sorted(columns - KNOWN - OPTIONAL):
        if near := nearest(column.lower(), names):
            return RowError(
                "columns",
                f"no known format in: {listed} (columns: {{{column}: {near}}} renames one)",
                f"无法识别的列：{listed}（可用 columns: {{{column}: {near}}} 改名）",
            )
    partly = [
        candidate for candidate in usable if not columns.isdisjoint(sum(candidate.columns, ()))
    ]
    for candidate in partly:
        groups = [", ".join(group) for group in candidate.missing(columns)]
        en, zh = "; and one of: ".join(groups), "；以及之一：".join(groups)
        return RowError(
            "columns",
            f"no known format in: {listed} ({candidate.name} rows also need one of: {en})",
            f"无法识别的列：{listed}（{candidate.name} 格式还需要以下之一：{zh}）",
        )
    readable = " | ".join(
        " + ".join(group[0] for group in candidate.columns) for candidate in usable
    )
    return RowError(
        "columns",
        f"no known format in: {listed} (stage: {stage} reads {readable})",
        f"无法识别的列：{listed}（stage: {stage} 可读取 {readable}）",
    )


def _require_no_media(row: Row) -> None:
    for name in sorted(MEDIA & row.keys()):
        if row[name]:
            raise RowError(
                "media",
                f"has {name}, which this stage does not support",
                f"含有 {name}，此阶段不支持",
            )
