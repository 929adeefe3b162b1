"""Messages of a server's clients, adapted to a template as the turns of rows are.

A conversation is rendered here exactly as it was for the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.data.example import without_nulls
from swiftbox.templates.abilities import Abilities, abilities_of
from swiftbox.templates.adaptation import as_message
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.template import REASONING_KEYS, ConversationTemplate, Message

READ = ("role", "content", "tool_calls", *REASONING_KEYS)


def render_for_client(
    template: ConversationTemplate,
    messages: Sequence[Message],
    tools: Sequence[Any],
    *,
    prompt: bool,
) -> str:
    """Return the text of a client's messages, whose contents are texts.

    Raises TemplateRefusal if the template refuses them, DataError beyond the limits.
    """
    chosen = template.for_tools(tools)
    abilities = abilities_of(chosen)
    adapted = [_adapted(message, index, abilities) for index, message in enumerate(messages)]
    return chosen.render(adapted, without_nulls(tools), prompt=prompt)


def _adapted(message: Message, index: int, abilities: Abilities) -> Mapping[str, Any]:
    """Return a message as the template takes it, with all keys that the client gave."""
    reasoning = next((message[key] for key in REASONING_KEYS if message.get(key)), "")
    if not isinstance(reasoning, str) or not isinstance(message["content"], str):
        return message
    extra = {key: value for key, value in message.items() if key not in READ}
    calls = tuple(message.get("tool_calls") or ())
    turn = AdaptedTurn(
        str(message["role"]), message["content"], index, 1.0, reasoning, calls, extra
    )
    return as_message(turn, abilities)
