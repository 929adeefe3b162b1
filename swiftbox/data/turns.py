"""The turns of a conversation: speakers, contents, tool calls, and their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from swiftbox.data.example import Example, RowError, Turn, kind_of
from swiftbox.data.loss_weights import require_learned, weight_of

Row = Mapping[str, Any]

ROLE_OF = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
"""The role of each speaker's name in OpenAI, ShareGPT, LLaMA-Factory and ms-swift."""

CALLERS = ("function_call", "tool_call")
"""Speakers whose content is a tool call in JSON."""

PLAIN = {speaker: role for speaker, role in ROLE_OF.items() if speaker not in CALLERS}
"""The role of each speaker whose content is text."""

EXTRA_KEYS = ("name", "tool_call_id")
"""Further keys of a message that chat templates read."""

REASONING = "reasoning_content"
REASONING_KEYS = (REASONING, "reasoning", "thinking")
"""Keys of the thoughts before an answer; all are read into the first (DeepSeek, vLLM, gpt-oss)."""


def read_turns(turns: list[Any]) -> list[Turn]:
    """Read turns of role and content, or of from and value."""
    messages: list[Turn] = []
    for number, turn in enumerate(turns, 1):
        # Nearly all turns are a known role and a text and nothing else: this path is fast.
        if isinstance(turn, dict) and len(turn) == 2:
            speaker, content = turn.get("role"), turn.get("content")
            if speaker is None:
                speaker, content = turn.get("from"), turn.get("value")
            role = PLAIN.get(speaker) if type(speaker) is str else None
            if role and type(content) is str and content and not content.isspace():
                messages.append(Turn(role, content))
                continue
        message = _message(turn, number)
        if message is not None:
            messages.append(message)
    return messages


def _message(turn: Any, number: int) -> Turn | None:
    if not isinstance(turn, dict):
        raise RowError(
            "type",
            f"message {number} should be an object (got {kind_of(turn)})",
            f"第 {number} 条消息应为对象（当前为 {kind_of(turn)}）",
        )
    role_key, content_key = ("role", "content") if "role" in turn else ("from", "value")
    speaker = turn.get(role_key)
    role = ROLE_OF.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise _unknown_role(turn, role_key, number)
    content = turn.get(content_key)
    calls: tuple[Any, ...] = ()
    weight = 1.0
    if role == "assistant":
        calls = _calls(turn, content_key, number)
        weight = weight_of(turn, number)
        if calls and (content is None or _speaker(turn) in CALLERS):
            content = ""
    if role == "system" and content is None:
        return None
    if not isinstance(content, str):
        raise RowError(
            "type",
            f"message {number}: {content_key} should be text (got {kind_of(content)})",
            f"第 {number} 条消息：{content_key} 应为文字（当前为 {kind_of(content)}）",
        )
    if not content.strip():
        _require_content(role, calls, number)
    return Turn(role, content, calls, _extra(turn, number), weight)


def _extra(turn: Row, number: int) -> tuple[tuple[str, str], ...]:
    """Return the further keys of a message that templates read; thoughts under a single name."""
    extra: dict[str, str] = {}
    for key in (*EXTRA_KEYS, *REASONING_KEYS):
        value = turn.get(key)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise RowError(
                "type",
                f"message {number}: {key} should be text (got {kind_of(value)})",
                f"第 {number} 条消息：{key} 应为文字（当前为 {kind_of(value)}）",
            )
        name = REASONING if key in REASONING_KEYS else key
        if extra.setdefault(name, value) != value:
            raise RowError(
                "reasoning",
                f"message {number}: {key} and another key hold different thoughts; keep only one",
                f"第 {number} 条消息：{key} 与另一个键的思考内容不同；请只保留一个",
            )
    return tuple(extra.items())


def _speaker(turn: Row) -> Any:
    return turn["role"] if "role" in turn else turn["from"]


def _require_content(role: str, calls: tuple[Any, ...], number: int) -> None:
    if role == "user":
        raise RowError(
            "empty",
            f"message {number}: the user turn is empty",
            f"第 {number} 条消息：user 内容为空",
        )
    if role == "assistant" and not calls:
        raise RowError(
            "empty", f"message {number}: the answer is empty", f"第 {number} 条消息：回答为空"
        )


def _unknown_role(turn: Row, role_key: str, number: int) -> RowError:
    if role_key not in turn:
        return RowError(
            "role",
            f"message {number} has neither role nor from",
            f"第 {number} 条消息既没有 role 也没有 from",
        )
    known = "system, user, assistant, tool"
    if role_key == "from":
        known = "system, human, gpt, function_call, observation"
    got = str(turn[role_key])[:40]
    return RowError(
        "role",
        f"message {number}: {role_key} should be one of {known} (got {got})",
        f"第 {number} 条消息：{role_key} 应为 {known} 之一（当前为 {got}）",
    )


def _calls(turn: Row, content_key: str, number: int) -> tuple[Any, ...]:
    """Return the tool calls of an assistant turn in OpenAI's format."""
    if _speaker(turn) in CALLERS:
        content = _parsed(turn.get(content_key))
        calls = content if isinstance(content, list) else [content]
    elif turn.get("function_call"):
        calls = [turn["function_call"]]
    else:
        calls = _parsed(turn.get("tool_calls") or [])
    if not isinstance(calls, list):
        raise RowError(
            "tools",
            f"message {number}: tool_calls should be a list (got {kind_of(calls)})",
            f"第 {number} 条消息：tool_calls 应为列表（当前为 {kind_of(calls)}）",
        )
    return tuple([_call(call, number) for call in calls])


def _call(call: Any, number: int) -> dict[str, Any]:
    wrapped = call if isinstance(call, dict) and "function" in call else None
    function = wrapped["function"] if wrapped else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(
            "tools",
            f"message {number}: a tool call should have a function with a name",
            f"第 {number} 条消息：工具调用应含带 name 的 function",
        )
    arguments = function.get("arguments") or {}
    if not isinstance(_parsed(arguments), dict):
        raise RowError(
            "tools",
            f"message {number}: the arguments of {function['name']} should be a JSON object",
            f"第 {number} 条消息：{function['name']} 的 arguments 应为 JSON 对象",
        )
    return wrapped or {"type": "function", "function": function}


def _parsed(value: Any) -> Any:
    """Parse JSON text; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def read_tools(row: Row) -> tuple[Any, ...]:
    """Return the tools of a row in OpenAI's format; a bare function is wrapped."""
    tools = _parsed(row.get("tools") or [])
    if not isinstance(tools, list):
        raise RowError(
            "tools",
            f"tools should be a list (got {kind_of(tools)})",
            f"tools 应为列表（当前为 {kind_of(tools)}）",
        )
    functions = []
    for number, tool in enumerate(tools, 1):
        wrapped = tool if isinstance(tool, dict) and "function" in tool else None
        function = wrapped["function"] if wrapped else tool
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowError(
                "tools",
                f"tool {number} should be a function with a name",
                f"第 {number} 个工具应为带 name 的 function",
            )
        functions.append(wrapped or {"type": "function", "function": function})
    return tuple(functions)


def conversation(messages: list[Turn], row: Row) -> Example:
    """Return the example of a complete conversation with the tools of its row."""
    turns = complete_turns(messages, row)
    require_learned(turns)
    return Example(turns, read_tools(row) if "tools" in row else ())


def complete_turns(messages: list[Turn], row: Row) -> tuple[Turn, ...]:
    """Check the order of a conversation, and that it has an answer to learn."""
    roles = [message.role for message in messages]
    if not roles:
        raise RowError("no-messages", "has no messages", "没有任何消息")
    if "assistant" not in roles:
        raise RowError(
            "no-answer", "has no assistant turn to learn from", "没有可学习的 assistant 轮次"
        )
    _require_order(roles)
    if roles[-1] != "assistant":
        raise RowError(
            "order",
            f"ends with a {roles[-1]} turn that is not answered",
            f"以 {roles[-1]} 轮次结尾，没有回答",
        )
    return tuple(_with_system_column(messages, row) if "system" in row else messages)


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
    system = row.get("system")
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
    if "system" in roles[1:]:
        number = roles.index("system", 1) + 1
        raise RowError(
            "order",
            f"message {number}: a system message is allowed only at the start",
            f"第 {number} 条消息：system 只能出现在开头",
        )
    first = roles[1] if roles[0] == "system" else roles[0]
    if first != "user":
        raise RowError(
            "order",
            f"the first turn should be a user turn (got {first})",
            f"首轮应为 user（当前为 {first}）",
        )
    if "tool" in roles:
        for number, (before, role) in enumerate(pairwise(roles), 2):
            if role == "tool" and before not in ("assistant", "tool"):
                raise RowError(
                    "order",
                    f"message {number}: a tool result without a preceding tool call",
                    f"第 {number} 条消息：tool 之前没有 assistant 的调用",
                )
