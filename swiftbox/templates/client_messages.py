"""Messages of a server's clients, adapted to a template as the turns of rows are.

A conversation is rendered here exactly as it was for the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.data.example import without_nulls
from swiftbox.templates.abilities import Abilities, abilities_of
from swiftbox.templates.adaptation import as_message
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.call_formats.json_calls import HERMES
from swiftbox.templates.call_formats.table import CLOSE, OPEN, AnswerForm, prefix_of
from swiftbox.templates.call_ids import with_ids
from swiftbox.templates.template import REASONING_KEYS, ConversationTemplate, Message
from swiftbox.templates.tools_in_prompt import with_tools_in_prompt

READ = ("role", "content", "tool_calls", *REASONING_KEYS)


class ToolsNotRendered(Exception):
    """A template renders a conversation without the tools of the request."""


@dataclass(frozen=True)
class ClientConversation:
    """Messages and tools of a client."""

    messages: Sequence[Message]
    """Their contents are texts."""
    tools: Sequence[Any] = ()
    prompted: bool = True
    """Whether the text ends with the beginning of an answer."""
    tools_in_prompt: bool = False
    """Whether tools are described in the system prompt where the template renders none."""


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
    turns = [_turn(message, index) for index, message in enumerate(messages)]
    known = with_ids([turn for turn in turns if turn is not None], abilities.ids)
    by_index = {turn.index: turn for turn in known}
    adapted = [
        as_message(by_index[index], abilities) if index in by_index else message
        for index, message in enumerate(messages)
    ]
    return chosen.render(adapted, without_nulls(tools), prompt=prompt)


def render_to_answer(
    template: ConversationTemplate, talk: ClientConversation
) -> tuple[str, AnswerForm]:
    """Return the text of a conversation, and how the answer to it is read.

    Raises TemplateRefusal, ToolsNotRendered, and DataError beyond the limits.
    """
    abilities = abilities_of(template.for_tools(talk.tools))
    messages, tools = talk.messages, talk.tools
    formats = [abilities.calls] if abilities.calls else []
    is_described = bool(tools) and talk.tools_in_prompt and not abilities.tools
    if is_described:
        messages, tools = with_tools_in_prompt(messages, without_nulls(tools), abilities), ()
    if is_described or not formats:
        formats = list(dict.fromkeys([*formats, HERMES.name]))
    rendered = render_for_client(template, messages, tools, prompt=talk.prompted)
    if tools and not abilities.tools:
        bare = render_for_client(template, messages, (), prompt=talk.prompted)
        if bare == rendered:
            raise ToolsNotRendered
    think = think_marks(abilities)
    return rendered, AnswerForm(tuple(formats), think, prefix_of(rendered, formats, think[0]))


def think_marks(abilities: Abilities) -> tuple[str, str]:
    """Return the marks that the template writes around reasoning, or the usual ones."""
    marks = abilities.think
    opening, closing = (marks.before.strip(), marks.after.strip()) if marks else ("", "")
    return (opening, closing) if opening and closing else (OPEN, CLOSE)


def _turn(message: Message, index: int) -> AdaptedTurn | None:
    """Return a message as a turn, with all keys that the client gave; None without a text."""
    reasoning = next((message[key] for key in REASONING_KEYS if message.get(key)), "")
    if not isinstance(reasoning, str) or not isinstance(message["content"], str):
        return None
    extra = {key: value for key, value in message.items() if key not in READ}
    calls = tuple(message.get("tool_calls") or ())
    role = str(message["role"])
    return AdaptedTurn(role, message["content"], index, 1.0, reasoning, calls, extra)
