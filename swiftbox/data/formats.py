"""The row formats: each one pure function row -> Example, chosen by the columns a row has."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.data.example import ROLES, Example, Message, RowError
from swiftbox.language import text

Row = Mapping[str, Any]

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}

QUESTIONS = ("query", "prompt", "question", "problem")
ANSWERS = ("response", "answer", "output", "completion")


@dataclass(frozen=True)
class Format:
    """One way to write a row: whether it is this one, and how to read it."""

    name: str
    stages: tuple[str, ...]
    matches: Callable[[frozenset[str]], bool]
    read: Callable[[Row], Example]


def read_messages(row: Row) -> Example:
    """Read `{"messages": [{"role", "content"}, ...]}`, as OpenAI writes conversations."""
    turns = _list(row, "messages")
    messages = [_message(turn, number, "role", "content") for number, turn in enumerate(turns, 1)]
    return conversation(messages, row)


def read_sharegpt(row: Row) -> Example:
    """Read `{"conversations": [{"from", "value"}, ...], "system"}`."""
    turns = _list(row, "conversations")
    messages = []
    for number, turn in enumerate(turns, 1):
        names = (
            ("from", "value")
            if isinstance(turn, Mapping) and "from" in turn
            else (
                "role",
                "content",
            )
        )
        messages.append(_message(turn, number, *names))
    return conversation(_with_system(row, messages), row)


def read_alpaca(row: Row) -> Example:
    """Read `{"instruction", "input", "output", "system", "history"}`."""
    question = _text(row, "instruction")
    given = _optional(row, "input")
    if given:
        question = f"{question}\n{given}"
    turns = [*_history(row), Message("user", question), Message("assistant", _text(row, "output"))]
    return conversation(_with_system(row, turns), row)


def read_query(row: Row) -> Example:
    """Read `{"query", "response", "history"}` and the synonyms of both names."""
    question = _text(row, next(name for name in QUESTIONS if name in row))
    reply = _text(row, next(name for name in ANSWERS if name in row))
    turns = [*_history(row), Message("user", question), Message("assistant", reply)]
    return conversation(_with_system(row, turns), row)


def read_text(row: Row) -> Example:
    """Read `{"text"}`: raw text for pretraining."""
    return Example(text=_text(row, "text"))


FORMATS = (
    Format("messages", ("sft",), lambda columns: "messages" in columns, read_messages),
    Format("sharegpt", ("sft",), lambda columns: "conversations" in columns, read_sharegpt),
    Format("alpaca", ("sft",), lambda columns: {"instruction", "output"} <= columns, read_alpaca),
    Format(
        "query-response",
        ("sft",),
        lambda columns: bool(columns & set(QUESTIONS)) and bool(columns & set(ANSWERS)),
        read_query,
    ),
    Format("text", ("pt",), lambda columns: "text" in columns, read_text),
)

COLUMNS = ("messages", "conversations", "instruction", "output", *QUESTIONS, *ANSWERS, "text")


def detect(columns: frozenset[str], stage: str) -> Format:
    """Choose the format of a row by its columns; raise RowError when none fits the stage."""
    fitting = [one for one in FORMATS if one.matches(columns)]
    for one in fitting:
        if stage in one.stages:
            return one
    if fitting:
        other = fitting[0]
        raise RowError(
            "stage",
            text(
                f"{other.name} rows train with stage: {other.stages[0]}, not {stage}",
                f"{other.name} 格式的数据用于 stage: {other.stages[0]}，而不是 {stage}",
            ),
        )
    listed = ", ".join(sorted(columns)) or "-"
    raise RowError(
        "columns",
        text(f"no known columns in: {listed}", f"无法识别的列：{listed}") + _near(columns),
    )


def _near(columns: frozenset[str]) -> str:
    for column in sorted(columns):
        found = difflib.get_close_matches(column.lower(), COLUMNS, n=1, cutoff=0.6)
        if found and found[0] != column:
            return text(
                f" (columns: {{{column}: {found[0]}}} renames one)",
                f"（可用 columns: {{{column}: {found[0]}}} 改名）",
            )
    return ""


def conversation(messages: list[Message], row: Row) -> Example:
    """Check a conversation's order and that there is something to learn in it."""
    if not messages:
        raise RowError("no-messages", text("has no messages", "没有任何消息"))
    if not any(message.role == "assistant" for message in messages):
        raise RowError(
            "no-answer", text("has no assistant turn to learn from", "没有可学习的 assistant 轮次")
        )
    for number, message in enumerate(messages, 1):
        if message.role == "system" and number > 1:
            raise RowError(
                "order",
                text(
                    f"message {number}: a system message stands only at the start",
                    f"第 {number} 条消息：system 只能出现在开头",
                ),
            )
        if message.role == "assistant" and not message.content.strip() and not message.tool_calls:
            raise RowError(
                "empty",
                text(f"message {number}: the answer is empty", f"第 {number} 条消息：回答为空"),
            )
    first = next(message for message in messages if message.role != "system")
    if first.role == "assistant":
        raise RowError(
            "order",
            text("the assistant speaks before any user", "assistant 先于 user 发言"),
        )
    if messages[-1].role != "assistant":
        raise RowError(
            "order",
            text(
                f"ends with a {messages[-1].role} turn that nothing answers",
                f"以 {messages[-1].role} 轮次结尾，没有回答",
            ),
        )
    return Example(messages=tuple(messages), tools=_tools(row))


def _message(turn: Any, number: int, role_key: str, content_key: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(
            "type",
            text(f"message {number} is not an object", f"第 {number} 条消息不是对象"),
        )
    said = turn.get(role_key)
    if role_key == "role":
        role = said if said in ROLES else None
    else:
        role = SHAREGPT_ROLES.get(said) if isinstance(said, str) else None
    calls = turn.get("tool_calls") or ()
    if said == "function_call":
        role, calls = "assistant", ()
    if role is None:
        known = ", ".join(ROLES if role_key == "role" else ("human", "gpt", "system", "tool"))
        raise RowError(
            "role",
            text(
                f"message {number}: {role_key} should be one of {known} (got {said})",
                f"第 {number} 条消息：{role_key} 应为 {known} 之一（当前为 {said}）",
            ),
        )
    content = turn.get(content_key)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise RowError(
            "type",
            text(
                f"message {number}: {content_key} should be text (got {type(content).__name__})",
                f"第 {number} 条消息：{content_key} 应为文字（当前为 {type(content).__name__}）",
            ),
        )
    if not content.strip() and role == "user":
        raise RowError(
            "empty",
            text(f"message {number}: the user says nothing", f"第 {number} 条消息：user 内容为空"),
        )
    return Message(role, content, tuple(calls))


def _list(row: Row, key: str) -> list[Any]:
    value = row[key]
    if hasattr(value, "tolist"):  # a column of a parquet file
        value = value.tolist()
    if not isinstance(value, list):
        raise RowError(
            "type",
            text(
                f"{key} should be a list (got {type(value).__name__})",
                f"{key} 应为列表（当前为 {type(value).__name__}）",
            ),
        )
    return value


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError(
            "type",
            text(
                f"{key} should be text (got {type(value).__name__})",
                f"{key} 应为文字（当前为 {type(value).__name__}）",
            ),
        )
    if not value.strip():
        raise RowError("empty", text(f"{key} is empty", f"{key} 为空"))
    return value


def _optional(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None or value == "":
        return ""
    return _text(row, key)


def _history(row: Row) -> list[Message]:
    turns: list[Message] = []
    for number, pair in enumerate(row.get("history") or [], 1):
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not all(isinstance(one, str) for one in pair)
        ):
            raise RowError(
                "type",
                text(
                    f"history {number} should be a pair [question, answer]",
                    f"history 第 {number} 项应为 [问, 答]",
                ),
            )
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns


def _with_system(row: Row, messages: list[Message]) -> list[Message]:
    system = _optional(row, "system")
    if system and not (messages and messages[0].role == "system"):
        return [Message("system", system), *messages]
    return messages


def _tools(row: Row) -> tuple[Any, ...]:
    tools = row.get("tools")
    if not tools:
        return ()
    if isinstance(tools, str):
        import json

        try:
            tools = json.loads(tools)
        except ValueError:
            raise RowError("type", text("tools is not JSON", "tools 不是合法的 JSON")) from None
    if not isinstance(tools, list):
        raise RowError("type", text("tools should be a list", "tools 应为列表"))
    return tuple(tools)
