"""Rows of a question, tools and the calls that answer it, as xlam-function-calling writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.data.cells import Row, first, text_in
from swiftbox.data.column_names import QUESTIONS
from swiftbox.data.conversations import context_in
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.tool_calls import called, parsed
from swiftbox.data.turn_order import conversation

TYPES: Mapping[str, str] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
"""JSON schema's name of each type of Python."""


def read_function_calls(row: Row) -> Example:
    """Read `{"query", "tools", "answers"}` with calls as answers."""
    calls = parsed(row["answers"])
    if not isinstance(calls, list) or not calls:
        raise RowError("tools", "answers should be a list of calls", "answers 应为函数调用的列表")
    context = context_in(row)
    text = text_in(row, first(row, QUESTIONS)) + (f"\n{context}" if context else "")
    question = Turn("user", text)
    answer = Turn("assistant", "", called(calls, 2))
    return conversation([question, answer], {**row, "tools": _tools(row["tools"])})


def _tools(tools: Any) -> Any:
    tools = parsed(tools)
    return [_with_schema(tool) for tool in tools] if isinstance(tools, list) else tools


def _with_schema(tool: Any) -> Any:
    """Return a tool whose parameters are a JSON schema; xlam lists them by name without one."""
    if not isinstance(tool, dict) or not isinstance(tool.get("parameters"), dict):
        return tool
    parameters = tool["parameters"]
    if isinstance(parameters.get("properties"), dict):
        return tool
    if not all(isinstance(value, dict) for value in parameters.values()):
        return tool
    properties = {name: _property(value) for name, value in parameters.items()}
    required = [name for name, value in parameters.items() if _is_required(value)]
    schema = {"type": "object", "properties": properties, "required": required}
    return {**tool, "parameters": schema}


def _is_required(value: Mapping[str, Any]) -> bool:
    return "optional" not in str(value.get("type", "")) and value.get("default") in (None, "")


def _property(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter with JSON schema's name of its type, where it is a simple type."""
    kind = str(value.get("type", "")).split(",")[0].strip()
    return {**value, "type": TYPES[kind]} if kind in TYPES else dict(value)
