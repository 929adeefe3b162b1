"""Give a conversation to a template in the form that it wants; nothing is left out here.

Some templates want arguments as text, contents as parts, reasoning in a field or inline. The rows
have either; so do the messages of clients of our server, which are adapted in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftbox.data.example import Turn, without_nulls
from swiftbox.templates.abilities import Abilities, as_parts, with_empty
from swiftbox.templates.account import (
    DEFAULT_SYSTEM,
    MERGED,
    MOVED_SYSTEM,
    SEQUENTIAL_CALLS,
    Account,
)
from swiftbox.templates.adapted_turn import SYSTEM, AdaptedTurn
from swiftbox.templates.call_ids import with_ids
from swiftbox.templates.names import filled, require_filled
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.reasoning import CLOSE, inline, split_inline
from swiftbox.templates.turn_changes import joined_neighbours, sequential_calls, system_into_user

REASONING = "reasoning_content"
WRAPPED = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)
"""A result with the marks that many templates write around it, as Hermes rows have it."""


def adapted_turns(
    turns: Sequence[Turn], options: RenderOptions, abilities: Abilities, account: Account
) -> list[AdaptedTurn]:
    """Return the turns with the changes of the options; count each change.

    Raises RowError for a name that is not filled in.
    """
    missing: set[str] = set()
    adapted = [_adapted(turn, index, options, account, missing) for index, turn in enumerate(turns)]
    if options.system is not None and not any(turn.role in SYSTEM for turn in adapted[:1]):
        default = _adapted(Turn("system", options.system), -1, options, account, missing)
        adapted = [default, *adapted]
        account.count(DEFAULT_SYSTEM)
    require_filled(missing)
    if options.system_into_user:
        moved = system_into_user(adapted, abilities)
        if moved is not adapted:
            account.count(MOVED_SYSTEM)
            adapted = moved
    if options.merge_consecutive:
        merged = joined_neighbours(adapted)
        account.count(MERGED, len(adapted) - len(merged))
        adapted = merged
    if options.sequential_calls:
        single = sequential_calls(adapted)
        account.count(SEQUENTIAL_CALLS, len(single) > len(adapted))
        adapted = single
    return with_ids(adapted, abilities.ids)


def _adapted(
    turn: Turn, index: int, options: RenderOptions, account: Account, missing: set[str]
) -> AdaptedTurn:
    extra = dict(turn.extra)
    reasoning, content = extra.pop(REASONING, ""), turn.content
    if "{{" in content:
        content = filled(content, options, turn.role, account, missing)
    if "{{" in reasoning:
        reasoning = filled(reasoning, options, turn.role, account, missing)
    return AdaptedTurn(turn.role, content, index, turn.weight, reasoning, turn.tool_calls, extra)


# ---- one turn as a message


def as_message(turn: AdaptedTurn, abilities: Abilities) -> dict[str, Any]:
    """Return a turn as the template takes it."""
    role = turn.role
    if role == "developer" and not abilities.developer:
        role = "system"
    content = turn.content
    if role == "tool" and abilities.wraps_results and (wrapped := WRAPPED.fullmatch(content)):
        content = wrapped[1]
    message: dict[str, Any] = {"role": role, "content": content, **turn.extra}
    if role == "assistant":
        reasoning, answer = reasoning_of(turn, abilities)
        only_calls = bool(turn.calls) and not answer and abilities.empty != "text"
        if reasoning and not only_calls and abilities.reasoning == "inline":
            content = inline(reasoning, answer)
        elif abilities.reasoning != "inline":
            content = answer
            # Templates look for `</think>` in the content where no reasoning is given.
            if reasoning or (abilities.reasoning and CLOSE in answer):
                message[REASONING] = reasoning
        if turn.calls:
            message["tool_calls"] = [_call(call, abilities) for call in turn.calls]
        if only_calls:
            return with_empty(message, abilities.empty)
    message["content"] = as_parts(content) if abilities.content == "parts" else content
    return message


def reasoning_of(turn: AdaptedTurn, abilities: Abilities) -> tuple[str, str]:
    """Return the reasoning of an answer and the rest, where the template knows reasoning.

    A template that does not know it renders `<think>` in a content as it is. Some rows have their
    reasoning in both places.
    """
    if not abilities.reasoning or CLOSE not in turn.content:
        return turn.reasoning, turn.content
    reasoning, answer = split_inline(turn.content)
    if turn.reasoning and reasoning not in ("", turn.reasoning.strip()):
        return turn.reasoning, turn.content
    return turn.reasoning or reasoning, answer


def _call(call: Mapping[str, Any], abilities: Abilities) -> dict[str, Any]:
    function = call["function"]
    arguments = parsed_arguments(function)
    if abilities.arguments == "text":
        written = function.get("arguments")
        arguments = written if isinstance(written, str) and written else compact(arguments)
    return {**call, "function": {**function, "arguments": arguments}}


def parsed_arguments(function: Mapping[str, Any]) -> Any:
    """Return the arguments of a call as an object."""
    arguments = function.get("arguments") or {}
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def compact(arguments: Any) -> str:
    """Return arguments as JSON text, as templates write it."""
    return json.dumps(arguments, ensure_ascii=False)


# ---- tools


def without_padding(turns: Sequence[Turn], tools: Sequence[Any]) -> Sequence[Turn]:
    """Return turns whose calls have no nulls for parameters of other tools.

    A column of a table holds the calls of all tools: each has the parameters of every one.
    """
    if not any(turn.tool_calls for turn in turns):
        return turns
    parameters = {tool["function"]["name"]: _parameters(tool["function"]) for tool in tools}
    return [
        replace(turn, tool_calls=tuple(_unpadded(call, parameters) for call in turn.tool_calls))
        for turn in turns
    ]


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = function.get("parameters")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return without_nulls(properties) if isinstance(properties, Mapping) else {}


def _unpadded(call: Any, parameters: Mapping[str, Mapping[str, Any]]) -> Any:
    function = call["function"]
    arguments, known = function.get("arguments"), parameters.get(function["name"])
    if known is None or not isinstance(arguments, Mapping) or None not in arguments.values():
        return call
    unpadded = {
        name: value for name, value in arguments.items() if value is not None or name in known
    }
    return {**call, "function": {**function, "arguments": unpadded}}
