"""Find the words of a conversation that its template dropped.

A text counts as rendered if it stands in the rendering, or differs from it in blanks only. The
arguments of a call count as rendered if each of their names and values is there: templates write
them as JSON, as Python or between tags, with blanks and escapes as they like.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from swiftbox.templates.adaptation import parsed_arguments
from swiftbox.templates.adapted_turn import AdaptedTurn

REASONING, CALL_NAME, ARGUMENTS, CONTENT = (
    "reasoning",
    "tool call name",
    "tool call arguments",
    "content",
)
SYSTEM, USER, RESULT, TOOLS = "system text", "user text", "tool result", "tool definitions"


def contains(rendered: str, content: str) -> bool:
    """Tell whether a text stands in a rendering, whatever its blanks."""
    content = content.strip()
    if content in rendered:
        return True
    return "".join(content.split()) in "".join(rendered.split())


def lost_of_answer(turn: AdaptedTurn, reasoning: str, content: str, learned: str) -> Iterator[str]:
    """Yield the kinds of words of an answer that its learned text does not have."""
    if reasoning and not contains(learned, reasoning):
        yield REASONING
    if content and not contains(learned, content):
        yield CONTENT
    for call in turn.calls:
        function = call["function"]
        if function["name"] not in learned:
            yield CALL_NAME
        if not _has_arguments(learned, parsed_arguments(function)):
            yield ARGUMENTS


def _has_arguments(learned: str, arguments: Any) -> bool:
    if not arguments or json.dumps(arguments, ensure_ascii=False) in learned:
        return True
    bare = "".join(learned.split())
    return all(_has_leaf(leaf, learned, bare) for leaf in _leaves(arguments))


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the names and the values of arguments."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _has_leaf(leaf: Any, learned: str, bare: str) -> bool:
    if isinstance(leaf, str):
        escaped = (json.dumps(leaf, ensure_ascii=ascii)[1:-1] for ascii in (False, True))
        forms = [leaf, *escaped, leaf.replace("'", "\\'")]
    else:
        forms = [json.dumps(leaf), str(leaf)]
    return any(form in learned or "".join(form.split()) in bare for form in forms)


KIND_OF_ROLE = {"system": SYSTEM, "developer": SYSTEM, "user": USER, "tool": RESULT}


def lost_of_prompt(turn: AdaptedTurn, rendered: str) -> str:
    """Return the kind of words of a turn that is not an answer if they are lost; else nothing."""
    if not turn.content or contains(rendered, turn.content):
        return ""
    if turn.role == "tool" and _has_result(turn.content, rendered):
        return ""
    return KIND_OF_ROLE.get(turn.role, CONTENT)


def _has_result(content: str, rendered: str) -> bool:
    """Tell whether a result stands in a rendering as another form of the same JSON."""
    try:
        result = json.loads(content)
    except (ValueError, RecursionError):
        return json.dumps(content, ensure_ascii=False)[1:-1] in rendered
    bare = "".join(rendered.split())
    return all(_has_leaf(leaf, rendered, bare) for leaf in _leaves(result))
