"""Render examples of any kind as the training does: every conversation, with what is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from swiftbox.data.example import Example
from swiftbox.templates.account import Account
from swiftbox.templates.conversations import LearnedConversation, conversations_of
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import Rendering, render_example, render_prompt
from swiftbox.templates.template import ConversationTemplate


@dataclass
class ExampleRenderer:
    """A template with the options of a training; counts what happens to the rows."""

    template: ConversationTemplate
    options: RenderOptions
    generates_answers: bool = False
    """Whether the examples are prompts, which the model answers while it is trained."""
    account: Account = field(default_factory=Account)

    def render(self, example: Example, place: str) -> None:
        """Render an example from `file:line`; raise RowError if it cannot be trained on."""
        for _ in self.renderings(example, place):
            pass

    def renderings(
        self, example: Example, place: str
    ) -> Iterator[tuple[LearnedConversation, Rendering]]:
        """Yield what the model sees of an example: several with `turns: each`."""
        generates = self.generates_answers
        for conversation in conversations_of(example, generates_answers=generates):
            if conversation.is_prompt:
                prompt = render_prompt(
                    self.template, self.options, conversation.turns, example.tools
                )
                yield conversation, Rendering(prompt, (), len(prompt))
                continue
            rendered = render_example(
                self.template,
                self.options,
                conversation.turns,
                example.tools,
                learned_from=conversation.learned_from,
            )
            self.account.add(rendered.account, place)
            for rendering in rendered.renderings:
                yield conversation, rendering
