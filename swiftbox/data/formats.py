"""The row formats: each one pure function row -> Example, chosen by the columns a row has."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from swiftbox.data.example import Example, Message, RowError, kind_of
from swiftbox.data.preference_formats import paired, read_label, whole
from swiftbox.data.turns import conversation, read_tools, read_turns

Row = Mapping[str, Any]

QUESTIONS = ("query", "prompt", "question", "problem")
ANSWERS = ("response", "answer", "output", "completion")
MEDIA = frozenset({"images", "videos", "audios", "image", "video", "audio"})


@dataclass(frozen=True)
class Format:
    """One way to write a row: the columns that show it, the stages it feeds, how it is read.

    A row is of this format when it has one column of each group.
    """

    name: str
    stages: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Example]

    def matches(self, columns: frozenset[str]) -> bool:
        """Tell whether a row with these columns is of this format."""
        return all(not columns.isdisjoint(group) for group in self.columns)


def read_messages(row: Row) -> Example:
    """Read `{"messages": [{"role", "content"}, ...]}`, as OpenAI writes conversations."""
    return conversation(read_turns(_list(row, "messages")), row)


def read_sharegpt(row: Row) -> Example:
    """Read `{"conversations": [{"from", "value"}, ...], "system"}`."""
    return conversation(read_turns(_list(row, "conversations")), row)


def read_alpaca(row: Row) -> Example:
    """Read `{"instruction", "input", "output", "system", "history"}`."""
    given = _text(row, "input") if row.get("input") else ""
    asked = _text(row, "instruction") if row["instruction"] or not given else ""
    question = f"{asked}\n{given}" if asked and given else asked or given
    return _answered(row, question, _text(row, "output"))


def read_query(row: Row) -> Example:
    """Read `{"query", "response", "history"}` and the synonyms of both names."""
    return _answered(row, _text(row, _first(row, QUESTIONS)), _text(row, _first(row, ANSWERS)))


def read_text(row: Row) -> Example:
    """Read `{"text"}`: raw text for pretraining."""
    return Example(text=_text(row, "text"))


def read_rejected(row: Row) -> Example:
    """Read `{"messages", "rejected_response" or "rejected_messages"}`, as ms-swift writes pairs."""
    turns = read_turns(_list(row, _first(row, TURNS)))
    worse = row.get("rejected_messages") or row.get("rejected_response")
    last = max((at for at, one in enumerate(turns) if one.role == "user"), default=-1)
    if isinstance(worse, list) and len(worse) > 1 and isinstance(worse[0], dict):
        before: list[Message] = []
        return paired(before, _dicts(turns), worse, row)
    return paired(turns[: last + 1], _dicts(turns[last + 1 :]), worse, row)


def read_pair(row: Row) -> Example:
    """Read a prompt with `chosen` and `rejected`, texts or messages (HF, TRL, LLaMA-Factory).

    Without a prompt, both are whole conversations.
    """
    return paired(_prompt(row), row["chosen"], row["rejected"], row)


def read_query_pair(row: Row) -> Example:
    """Read `{"query", "response", "rejected_response", "history"}`."""
    return paired(_prompt(row), row[_first(row, ANSWERS)], row["rejected_response"], row)


def read_labelled(row: Row) -> Example:
    """Read an answered row with `label`, or LLaMA-Factory's `kto_tag`: was the answer good?"""
    name = "label" if "label" in row else "kto_tag"
    label = read_label(row, name)
    if any(row.get(key) for key in TURNS):
        return replace(conversation(_prompt(row), row), label=label)
    answer = _first(row, ANSWERS)
    return replace(conversation(whole(_prompt(row), row[answer], answer), row), label=label)


def read_prompt(row: Row) -> Example:
    """Read a prompt to be answered; an answer of the row becomes the column `solution`."""
    turns = _prompt(row)
    if not turns and "text" in row:
        turns = [Message("user", _text(row, "text"))]
    columns = {key: value for key, value in row.items() if key not in (*TURNS, *QUESTIONS)}
    said = [at for at, one in enumerate(turns) if one.role == "user"]
    if not said:
        raise RowError("no-prompt", "has no user turn to answer", "没有可回答的 user 轮次")
    answer = turns[said[-1] + 1 :]
    if answer:
        columns.setdefault("solution", answer[-1].content)
    for name in ("answer", "response", "output", "completion"):
        if columns.get(name) is not None:
            columns.setdefault("solution", columns[name])
    return Example(
        tuple(turns[: said[-1] + 1]),
        read_tools(row) if "tools" in row else (),
        columns=tuple(columns.items()),
    )


def _dicts(turns: list[Message]) -> list[dict[str, Any]]:
    return [one.to_dict() for one in turns]


def _prompt(row: Row) -> list[Message]:
    """Return the turns before the answers: messages, or a question with its history."""
    for key in TURNS:
        if row.get(key):
            return read_turns(_list(row, key))
    if "instruction" in row:
        given = _text(row, "input") if row.get("input") else ""
        asked = _text(row, "instruction") if row["instruction"] or not given else ""
        question = f"{asked}\n{given}" if asked and given else asked or given
        return [*_system(row), *_history(row), Message("user", question)]
    asked_in = [name for name in QUESTIONS if row.get(name) is not None]
    if not asked_in:
        return []
    value = row[asked_in[0]]
    if isinstance(value, list):
        return read_turns(value)
    return [*_system(row), *_history(row), Message("user", _text(row, asked_in[0]))]


def _system(row: Row) -> list[Message]:
    return [Message("system", _text(row, "system"))] if row.get("system") else []


PAIRS = ("dpo", "orpo", "simpo", "cpo", "reward")
TURNS = ("messages", "conversations")
REJECTED = ("rejected_response", "rejected_messages", "rejected")
LABEL = ("label", "kto_tag")

FORMATS = (
    Format("messages", ("sft",), (("messages",),), read_messages),
    Format("sharegpt", ("sft",), (("conversations",),), read_sharegpt),
    Format("alpaca", ("sft",), (("instruction",), ("output",)), read_alpaca),
    Format("query-response", ("sft",), (QUESTIONS, ANSWERS), read_query),
    Format("text", ("pt",), (("text",),), read_text),
    Format("chosen-rejected", PAIRS, (("chosen",), ("rejected",)), read_pair),
    Format("messages-rejected", PAIRS, (TURNS, REJECTED[:2]), read_rejected),
    Format("query-rejected", PAIRS, (QUESTIONS, ANSWERS, REJECTED[:1]), read_query_pair),
    Format("messages-label", ("kto",), (TURNS, LABEL), read_labelled),
    Format("alpaca-label", ("kto",), (("instruction",), ("output",), LABEL), read_labelled),
    Format("query-label", ("kto",), (QUESTIONS, ANSWERS, LABEL), read_labelled),
    Format("prompt", ("grpo",), ((*TURNS, *QUESTIONS, "instruction"),), read_prompt),
)
"""The first format that fits the columns and the stage is taken."""

KNOWN = frozenset(name for one in FORMATS for group in one.columns for name in group)
BESIDE = frozenset({"input", "system", "history", "tools"}) | MEDIA
"""Columns that go with a format but do not show it."""


def read_row(row: Row, stage: str) -> tuple[str, Example]:
    """Return the name of a row's format and its example; raise RowError when there is none."""
    chosen = detect(frozenset(row), stage)
    if not MEDIA.isdisjoint(row):
        _require_no_media(row)
    return chosen.name, chosen.read(row)


def detect(columns: frozenset[str], stage: str) -> Format:
    """Choose the format of a row by its columns; raise RowError when none fits the stage."""
    found = _choice(columns, stage)
    if isinstance(found, RowError):
        raise RowError(found.kind, found.en, found.zh)
    return found


@lru_cache(maxsize=256)
def _choice(columns: frozenset[str], stage: str) -> Format | RowError:
    fitting = [one for one in FORMATS if one.matches(columns)]
    if stage == "sft" and not columns.isdisjoint(REJECTED):
        fitting = [one for one in fitting if stage not in one.stages]
    for one in fitting:
        if stage in one.stages:
            return one
    fitting = [one for one in fitting if one.name != "prompt"]  # any question is one
    if fitting:
        other = fitting[-1] if len(fitting[-1].columns) > len(fitting[0].columns) else fitting[0]
        lacking = _lacking(columns, stage)
        return RowError(
            "stage",
            f"{other.name} rows train with stage: {other.stages[0]}, not {stage}"
            + (f" (it would also need one of: {lacking})" if lacking else ""),
            f"{other.name} 格式的数据用于 stage: {other.stages[0]}，而不是 {stage}"
            + (f"（还需要以下之一：{lacking}）" if lacking else ""),
        )
    return _unknown(columns, stage)


def _lacking(columns: frozenset[str], stage: str) -> str:
    """Name the one group of columns that a row lacks to be of the stage; empty: more than one."""
    for one in FORMATS:
        missing = [group for group in one.columns if columns.isdisjoint(group)]
        if stage in one.stages and len(missing) == 1 and len(one.columns) > 1:
            return ", ".join(missing[0])
    return ""


def _unknown(columns: frozenset[str], stage: str) -> RowError:
    listed = ", ".join(sorted(columns)) or "-"
    for column in sorted(columns - KNOWN - BESIDE):
        near = difflib.get_close_matches(column.lower(), sorted(KNOWN), n=1, cutoff=0.6)
        if near:
            return RowError(
                "columns",
                f"no known format in: {listed} (columns: {{{column}: {near[0]}}} renames one)",
                f"无法识别的列：{listed}（可用 columns: {{{column}: {near[0]}}} 改名）",
            )
    usable = [one for one in FORMATS if stage in one.stages]
    half = [one for one in usable if not columns.isdisjoint(sum(one.columns, ()))]
    for one in half:
        lacking = [group for group in one.columns if columns.isdisjoint(group)]
        names = ", ".join(lacking[0])
        return RowError(
            "columns",
            f"no known format in: {listed} ({one.name} rows also need one of: {names})",
            f"无法识别的列：{listed}（{one.name} 格式还需要以下之一：{names}）",
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


def _answered(row: Row, question: str, answer: str) -> Example:
    turns = [*_history(row), Message("user", question), Message("assistant", answer)]
    return conversation(turns, row)


def _first(row: Row, names: tuple[str, ...]) -> str:
    """Return the first of the names whose column is filled, else the first that is there."""
    there = [name for name in names if name in row]
    return next((name for name in there if row[name] is not None), there[0])


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError(
            "type",
            f"{key} should be text (got {kind_of(value)})",
            f"{key} 应为文字（当前为 {kind_of(value)}）",
        )
    if not value.strip():
        raise RowError("empty", f"{key} is empty", f"{key} 为空")
    return value


def _list(row: Row, key: str) -> list[Any]:
    """Return a column that holds a list, or JSON of one, as csv cells do."""
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError("json", f"{key} is not JSON", f"{key} 不是合法的 JSON") from None
    if not isinstance(value, list):
        raise RowError(
            "type",
            f"{key} should be a list (got {kind_of(value)})",
            f"{key} 应为列表（当前为 {kind_of(value)}）",
        )
    return value


def _history(row: Row) -> list[Message]:
    if not row.get("history"):
        return []
    turns: list[Message] = []
    for number, pair in enumerate(_list(row, "history"), 1):
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(one, str) and one.strip() for one in pair):
            raise RowError(
                "history",
                f"history {number} should be a pair of texts [question, answer]",
                f"history 第 {number} 项应为一对文字 [问, 答]",
            )
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns
