"""The row formats: each one pure function row -> Example, chosen by the columns a row has."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from swiftbox.data.cells import Row
from swiftbox.data.conversations import (
    ANSWERS,
    ASKING,
    QUESTIONS,
    WHOLE,
    read_alpaca,
    read_messages,
    read_query,
    read_sharegpt,
    read_text,
)
from swiftbox.data.example import Example, RowError
from swiftbox.data.labels import LABELS, read_labelled, require_unjudged, with_margin
from swiftbox.data.preferences import REJECTED, read_chosen, read_rejected
from swiftbox.data.prompts import read_prompt

MEDIA = frozenset({"images", "videos", "audios", "image", "video", "audio"})

SFT = ("sft",)
PAIRED = ("dpo", "orpo", "simpo", "cpo", "reward", "kto")
"""Stages that learn from pairs; for kto a pair is a desirable and an undesirable answer."""
LABELLED = ("kto",)
PROMPTED = ("grpo",)

QUESTION = (*QUESTIONS, "instruction")


@dataclass(frozen=True)
class Format:
    """One way to write a row: the columns that show it, the stages it feeds, how it is read.

    A row is of this format when it has one column of each group and none of `unless`: a pair is no
    conversation to learn, though it holds one.
    """

    name: str
    stages: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Example]
    unless: tuple[str, ...] = ()

    def matches(self, columns: frozenset[str]) -> bool:
        """Tell whether a row with these columns is of this format."""
        return not self.lacking(columns) and columns.isdisjoint(self.unless)

    def lacking(self, columns: frozenset[str]) -> list[tuple[str, ...]]:
        """Return the groups of which a row with these columns has none."""
        return [group for group in self.columns if columns.isdisjoint(group)]


FORMATS = (
    Format("messages", SFT, (("messages",),), read_messages, REJECTED),
    Format("sharegpt", SFT, (("conversations",),), read_sharegpt, REJECTED),
    Format("alpaca", SFT, (("instruction",), ("output",)), read_alpaca, REJECTED),
    Format("query-response", SFT, (QUESTIONS, ANSWERS), read_query, REJECTED),
    Format("text", ("pt",), (("text",),), read_text),
    Format("chosen-rejected", PAIRED, (("chosen",), ("rejected",)), read_chosen),
    Format("messages-rejected", PAIRED, (WHOLE, REJECTED), read_rejected),
    Format("response-rejected", PAIRED, (QUESTION, ANSWERS, REJECTED), read_rejected),
    Format("messages-label", LABELLED, (WHOLE, LABELS), read_labelled),
    Format("response-label", LABELLED, (QUESTION, ANSWERS, LABELS), read_labelled),
    Format("prompt", PROMPTED, (ASKING,), read_prompt),
)
"""The first format that fits the columns and the stage is taken."""

KNOWN = frozenset(name for one in FORMATS for group in one.columns for name in group)
BESIDE = frozenset({"input", "system", "history", "tools"}) | MEDIA
"""Columns that go with a format but do not show it."""

TELLING = MEDIA.union(LABELS)
"""Columns of a row that may forbid to learn from it."""


def read_row(row: Row, stage: str) -> tuple[str, Example]:
    """Return the name of a row's format and its example; raise RowError when there is none."""
    chosen = detect(frozenset(row), stage)
    if not TELLING.isdisjoint(row):
        _require_no_media(row)
        if chosen.stages == SFT:
            require_unjudged(row)
    example = chosen.read(row)
    return chosen.name, with_margin(example, row) if stage == "reward" else example


def detect(columns: frozenset[str], stage: str) -> Format:
    """Choose the format of a row by its columns; raise RowError when none fits the stage."""
    found = _choice(columns, stage)
    if isinstance(found, RowError):
        raise RowError(found.kind, found.en, found.zh)
    return found


@lru_cache(maxsize=256)
def _choice(columns: frozenset[str], stage: str) -> Format | RowError:
    fitting = [one for one in FORMATS if one.matches(columns)]
    for one in fitting:
        if stage in one.stages:
            return one
    # Nearly every row asks something and so fits grpo: that says little of what it was meant for.
    meant = [one for one in fitting if one.stages != PROMPTED]
    usable = [one for one in FORMATS if stage in one.stages]
    if meant:
        return _other_stage(columns, stage, max(meant, key=lambda one: len(one.columns)), usable)
    return _unknown(columns, stage, usable)


def _other_stage(
    columns: frozenset[str], stage: str, other: Format, usable: Iterable[Format]
) -> RowError:
    """Say which stages train rows of a format, and which column they lack for this one."""
    en = f"{other.name} rows train with stage: {_either(other.stages, ' or ')}, not {stage}"
    zh = f"{other.name} 格式的数据用于 stage: {_either(other.stages, ' 或 ')}，而不是 {stage}"
    near = [one for one in usable if len(one.columns) > 1 and len(one.lacking(columns)) == 1]
    if near:
        group = min(near, key=lambda one: len(one.stages)).lacking(columns)[0]
        en += f" (for {stage} they also need {_either(group, ' or ')})"
        zh += f"（用于 {stage} 还需要列 {_either(group, ' 或 ')}）"
    return RowError("stage", en, zh)


def _either(names: tuple[str, ...], last: str) -> str:
    return last.join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _unknown(columns: frozenset[str], stage: str, usable: Iterable[Format]) -> RowError:
    listed = ", ".join(sorted(columns)) or "-"
    names = sorted({name for one in usable for group in one.columns for name in group})
    for column in sorted(columns - KNOWN - BESIDE):
        near = difflib.get_close_matches(column.lower(), names, n=1, cutoff=0.6)
        if near:
            return RowError(
                "columns",
                f"no known format in: {listed} (columns: {{{column}: {near[0]}}} renames one)",
                f"无法识别的列：{listed}（可用 columns: {{{column}: {near[0]}}} 改名）",
            )
    half = [one for one in usable if not columns.isdisjoint(sum(one.columns, ()))]
    for one in half:
        groups = [", ".join(group) for group in one.lacking(columns)]
        en, zh = "; and one of: ".join(groups), "；以及之一：".join(groups)
        return RowError(
            "columns",
            f"no known format in: {listed} ({one.name} rows also need one of: {en})",
            f"无法识别的列：{listed}（{one.name} 格式还需要以下之一：{zh}）",
        )
    wanted = " | ".join(" + ".join(group[0] for group in one.columns) for one in usable)
    return RowError(
        "columns",
        f"no known format in: {listed} (stage: {stage} reads {wanted})",
        f"无法识别的列：{listed}（stage: {stage} 可读取 {wanted}）",
    )


def _require_no_media(row: Row) -> None:
    for name in sorted(MEDIA & row.keys()):
        if row[name]:
            raise RowError(
                "media",
                f"has {name}, which this stage cannot learn from",
                f"含有 {name}，此阶段无法学习",
            )
