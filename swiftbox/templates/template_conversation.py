"""The turns of a row as messages of a template, and their renderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swiftbox.data.example import without_nulls
from swiftbox.security.template_environment import Span
from swiftbox.templates.abilities import Abilities
from swiftbox.templates.adaptation import as_message, reasoning_of
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.prefixes import shared_start
from swiftbox.templates.template import ConversationTemplate, plain, plain_messages

PLACE = "\ue000"
"""A private letter, which no text begins with."""


class TemplateConversation:
    """The turns of a row as messages, and their renderings, each made once."""

    def __init__(
        self,
        template: ConversationTemplate,
        abilities: Abilities,
        turns: list[AdaptedTurn],
        tools: Sequence[Any],
    ) -> None:
        self.template = template.for_tools(tools)
        self.abilities = abilities
        self.turns = turns
        self.tools: list[Any] = plain(without_nulls(tools))
        self.messages = plain_messages([as_message(turn, abilities) for turn in turns])
        self._until: dict[int, tuple[str, list[Span]]] = {}

    @property
    def text(self) -> str:
        """Return the rendering of all turns."""
        return self.until(len(self.turns) - 1)[0]

    def prompt(self, index: int, variables: dict[str, Any] | None = None) -> str:
        """Return the prompt of the turn at `index`, as the server renders it."""
        template = self.template.with_variables(variables) if variables else self.template
        return template.render_plain(self.messages[:index], self.tools, prompt=True)

    def until(self, index: int) -> tuple[str, list[Span]]:
        """Return the rendering of the turns up to `index`, and its generation marks."""
        if index not in self._until:
            messages = self.messages[: index + 1]
            if self.template.is_marked:
                self._until[index] = self.template.render_marked(messages, self.tools)
            else:
                self._until[index] = self.template.render_plain(messages, self.tools), []
        return self._until[index]

    def words_in(self, content: str, index: int, count: int) -> Span:
        """Return where the turn at `index` stands in `content`, with what closes it.

        `content` is the rendering of the first turns: of all of them, or else the prompt of the
        next answer.
        """
        other = self.with_other_words(index, count, prompt=count < len(self.turns))
        start = shared_start(content, other)
        end = len(content) - shared_start(content[start:][::-1], other[start:][::-1])
        closing = self.abilities.closing
        return start, end + (len(closing) if content.startswith(closing, end) else 0)

    def with_other_words(self, index: int, count: int, *, prompt: bool = False) -> str:
        """Return the rendering of the first turns, with other words in the one at `index`."""
        turns, turn = self.turns[:count], self.turns[index]
        reasoning, content = reasoning_of(turn, self.abilities)
        turns[index] = replace(
            turn,
            content=PLACE if content else "",
            reasoning=PLACE if reasoning else "",
            calls=tuple(_renamed(call) for call in turn.calls),
        )
        messages = [as_message(turn, self.abilities) for turn in turns]
        return self.template.render(messages, self.tools, prompt=prompt)


def _renamed(call: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "name": PLACE, "arguments": {PLACE: PLACE}}}
