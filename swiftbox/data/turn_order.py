"""The order of turns: what follows what, and where a conversation to learn from ends.

Whether a template renders an order (a late system message, two users in a row) is the template's
to say: here is refused only what makes no sense in any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from swiftbox.data.example import Example, RowError, Turn, kind_of
from swiftbox.data.loss_weights import require_learned
from swiftbox.data.tool_calls import read_tools

Row = Mapping[str, Any]

SYSTEM_COLUMN = "system"


def conversation(messages: list[Turn], row: Row) -> Example:
    """Return the example of a complete conversation with the tools of its row."""
    turns = complete_turns(messages, row)
    last = messages[-1]
    if last.role == "assistant" and last.weight:
        return Example(turns, read_tools(row) if "tools" in row else ())
    require_learned(turns)
    cut = turns_after_answer(messages)
    return Example(turns, read_tools(row) if "tools" in row else (), cut=cut)


def turns_after_answer(messages: Sequence[Turn]) -> int:
    """Count the turns after the last answer: nothing is learned from them."""
    count = 0
    for message in reversed(messages):
        if message.role == "assistant":
            break
        count += 1
    return count


def complete_turns(messages: list[Turn], row: Row) -> tuple[Turn, ...]:
    """Check that a conversation has an answer to learn; return it without the turns after it."""
    roles = [message.role for message in messages]
    if not roles:
        raise RowError("no-messages", "has no messages", "没有任何消息")
    if "assistant" not in roles:
        raise RowError(
            "no-answer", "has no assistant turn to learn from", "没有可学习的 assistant 轮次"
        )
    if roles[-1] != "assistant":
        messages = messages[: len(messages) - turns_after_answer(messages)]
        roles = roles[: len(messages)]
    _require_order(roles)
    return tuple(_with_system_column(messages, row) if SYSTEM_COLUMN in row else messages)


def prompt_turns(messages: list[Turn], row: Row) -> tuple[Turn, ...]:
    """Check that turns end with a user or tool turn to answer."""
    roles = [message.role for message in messages]
    if "user" not in roles:
        raise RowError("prompt", "has no user turn", "没有 user 轮次")
    _require_order(roles)
    if roles[-1] not in ("user", "tool"):
        raise RowError(
            "order",
            f"the prompt should end with a user turn (ends with {roles[-1]})",
            f"提示应以 user 轮次结尾（当前以 {roles[-1]} 结尾）",
        )
    return tuple(_with_system_column(messages, row))


def _with_system_column(messages: list[Turn], row: Row) -> list[Turn]:
    system = row.get(SYSTEM_COLUMN)
    return messages if system is None or system == "" else _with_system(system, messages)


def _with_system(system: Any, messages: list[Turn]) -> list[Turn]:
    if not isinstance(system, str):
        raise RowError(
            "type",
            f"system should be text (got {kind_of(system)})",
            f"system 应为文字（当前为 {kind_of(system)}）",
        )
    if messages[0].role != "system":
        return [Turn("system", system), *messages]
    if messages[0].content != system:
        raise RowError(
            "order",
            "has two different system texts: one in its column, one in the first message",
            "有两段不同的 system：一段在列中，一段在首条消息中",
        )
    return messages


def _require_order(roles: list[str]) -> None:
    if "user" not in roles:
        raise RowError(
            "order",
            "has no user turn; raw text without a question is for stage: pt, in a column text",
            "没有 user 轮次；没有提问的纯文本应放在 text 列，用 stage: pt 训练",
        )
    if "tool" in roles:
        for number, (before, role) in enumerate(pairwise(["", *roles]), 1):
            if role == "tool" and before not in ("assistant", "tool"):
                raise RowError(
                    "order",
                    f"message {number}: a tool result without a preceding tool call",
                    f"第 {number} 条消息：tool 之前没有 assistant 的调用",
                )
