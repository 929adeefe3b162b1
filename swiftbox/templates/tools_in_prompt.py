"""Tools for a template that renders none: described in the system prompt, as Hermes has them.

Calls become part of the content of their turn, and results a turn of the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.templates.abilities import Abilities
from swiftbox.templates.adaptation import compact, parsed_arguments
from swiftbox.templates.adapted_turn import SYSTEM
from swiftbox.templates.turn_changes import BETWEEN

DESCRIPTION = """You can call the functions below. Each line is the signature of one, as JSON:
<tools>
{tools}
</tools>
To call a function, write its name and its arguments as a JSON object between two marks:
<tool_call>
{{"name": "the function's name", "arguments": {{"a parameter": "its value"}}}}
</tool_call>
Write one such block for each call."""

Messages = Sequence[Mapping[str, Any]]


def with_tools_in_prompt(
    messages: Messages, tools: Sequence[Any], abilities: Abilities
) -> list[dict[str, Any]]:
    """Return messages that describe the tools, with calls and results as texts."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    description = DESCRIPTION.format(tools=lines)
    turns: list[dict[str, Any]] = []
    previous = ""
    for message in messages:
        turn = _as_text(message)
        if message["role"] == previous == "tool":
            turns[-1]["content"] += "\n" + turn["content"]
        else:
            turns.append(turn)
        previous = message["role"]
    host = 0 if abilities.system else _first_user(turns)
    is_joined = turns and (turns[host]["role"] in SYSTEM or not abilities.system)
    if is_joined:
        texts = [turns[host]["content"], description]
        texts = texts if abilities.system else texts[::-1]
        turns[host]["content"] = BETWEEN.join(text for text in texts if text)
    else:
        turns.insert(0, {"role": "system", "content": description})
    return turns


def _first_user(turns: Sequence[Mapping[str, Any]]) -> int:
    return next((index for index, turn in enumerate(turns) if turn["role"] == "user"), 0)


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        content = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": content}
    turn = {key: value for key, value in message.items() if key != "tool_calls"}
    calls = [_call_text(call["function"]) for call in message.get("tool_calls") or ()]
    if calls:
        turn["content"] = "\n".join(text for text in [turn["content"], *calls] if text)
    return turn


def _call_text(function: Mapping[str, Any]) -> str:
    content = {"name": function["name"], "arguments": parsed_arguments(function)}
    return f"<tool_call>\n{compact(content)}\n</tool_call>"
