"""Tool calls of a turn and tools of a row, in OpenAI's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swiftbox.data.example import RowError, kind_of, without_nulls
from swiftbox.data.literals import decoded

Row = Mapping[str, Any]


def called(content: Any, number: int) -> tuple[Any, ...]:
    """Return the calls in the content of a speaker whose content is JSON: one call, or several."""
    calls = parsed(content)
    calls = [parsed(call) for call in calls] if isinstance(calls, list) else [calls]
    return tuple([_call(call, number) for call in calls])


def calls_of(turn: Row, number: int) -> tuple[Any, ...]:
    """Return the tool calls of an assistant turn."""
    if turn.get("function_call"):
        calls = [turn["function_call"]]
    else:
        calls = parsed(turn.get("tool_calls")) or []
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
    if not isinstance(parsed(arguments), dict):
        raise RowError(
            "tools",
            f"message {number}: the arguments of {function['name']} should be a JSON object",
            f"第 {number} 条消息：{function['name']} 的 arguments 应为 JSON 对象",
        )
    return wrapped or {"type": "function", "function": function}


def parsed(value: Any) -> Any:
    """Parse JSON text or a printed value, and a blank one as nothing; leave anything else."""
    if not isinstance(value, str):
        return value
    if not value or value.isspace():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        printed = decoded(value)
        return value if printed is None else printed


def _one_after_another(content: str) -> Any:
    """Return the JSON objects of a text that holds one or more; the text if it holds anything else.

    function-calling-chatml separates the tools of a row by blank lines.
    """
    decoder, objects, position = json.JSONDecoder(), [], 0
    while position < len(content):
        try:
            value, position = decoder.raw_decode(content, position)
        except (ValueError, RecursionError):
            return content
        objects.append(value)
        while position < len(content) and content[position].isspace():
            position += 1
    return objects


def read_tools(row: Row) -> tuple[Any, ...]:
    """Return the tools of a row in OpenAI's format; a bare function is wrapped."""
    tools = parsed(row.get("tools")) or []
    if isinstance(tools, (str, dict)):
        tools = _one_after_another(tools.strip()) if isinstance(tools, str) else [tools]
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
        functions.append(without_nulls(wrapped or {"type": "function", "function": function}))
    return tuple(functions)
