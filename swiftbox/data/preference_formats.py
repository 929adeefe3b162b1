"""Rows with two answers to choose between, with a judged answer, or with a prompt alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftbox.data.example import Example, Message, RowError, kind_of
from swiftbox.data.turns import conversation, read_turns

Row = Mapping[str, Any]


def paired(before: list[Message], better: Any, worse: Any, row: Row) -> Example:
    """Make a preference of the turns before both answers and the answers, texts or turns."""
    chosen = conversation(whole(before, better, "chosen"), row)
    rejected = conversation(whole(before, worse, "rejected"), row)
    if chosen.messages == rejected.messages:
        raise RowError(
            "identical",
            "chosen and rejected are the same: there is nothing to prefer",
            "chosen 与 rejected 相同，没有偏好可学",
        )
    margin = row.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, (int, float))):
        raise RowError(
            "type",
            f"margin should be a number (got {kind_of(margin)})",
            f"margin 应为数字（当前为 {kind_of(margin)}）",
        )
    return replace(chosen, rejected=rejected.messages, margin=margin)


def whole(before: list[Message], answer: Any, name: str) -> list[Message]:
    """Return the conversation an answer ends; a list may repeat the turns before it."""
    if isinstance(answer, str):
        if not answer.strip():
            raise RowError("empty", f"{name} is empty", f"{name} 为空")
        return [*before, Message("assistant", answer)]
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list) or not answer:
        raise RowError(
            "type",
            f"{name} should be text or messages (got {kind_of(answer)})",
            f"{name} 应为文字或消息列表（当前为 {kind_of(answer)}）",
        )
    turns = read_turns(answer)
    if not turns or turns[-1].role != "assistant":
        raise RowError(
            "order",
            f"{name} does not end with an assistant turn",
            f"{name} 没有以 assistant 轮次结尾",
        )
    repeats = turns[: len(before)] == before
    return turns if repeats or not before else [*before, *turns]


LABELS = {"true": True, "1": True, "false": False, "0": False}


def read_label(row: Row, key: str) -> bool:
    """Read whether an answer is desirable: a boolean, 0 or 1, or those words in a csv cell."""
    value = row.get(key)
    found = LABELS.get(str(value).strip().lower())
    if found is None or isinstance(value, float):
        raise RowError(
            "label",
            f"{key} should be true or false (got {value!r:.40})",
            f"{key} 应为 true 或 false（当前为 {value!r:.40}）",
        )
    return found
