"""Render examples of any kind as the training does: every conversation, with what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from swiftbox.data.example import Example, RowError
from swiftbox.data.shapes import PAIRED
from swiftbox.formatting import counted
from swiftbox.templates.account import Account
from swiftbox.templates.conversations import LearnedConversation, conversations_of
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import (
    RenderedExample,
    Rendering,
    render_example,
    render_prompt,
)
from swiftbox.templates.template import ConversationTemplate

if TYPE_CHECKING:
    from swiftbox.config.train import TrainConfig


@dataclass
class ExampleRenderer:
    """A template with the options of a training; counts what happens to the rows."""

    template: ConversationTemplate
    options: RenderOptions
    generates_answers: bool = False
    """Whether the examples are prompts, which the model answers while it is trained."""
    account: Account = field(default_factory=Account)

    @staticmethod
    def of(template: ConversationTemplate, config: TrainConfig) -> ExampleRenderer:
        """Return the renderer of a training."""
        options = RenderOptions.of(config)
        if config.model_dump()["stage"] in PAIRED:  # a term of the loss learns prompts, if any
            options = replace(options, train_on_prompt=False)
        return ExampleRenderer(template, options, config.generates_answers)

    def render(self, example: Example, place: str) -> int:
        """Render an example from `file:line`; return the number of its texts.

        Raises RowError if it cannot be trained on.
        """
        return len(self.renderings(example, place))

    def renderings(
        self, example: Example, place: str
    ) -> list[tuple[LearnedConversation, Rendering]]:
        """Return what the model sees of an example: several with `turns: each`.

        Raises RowError if it cannot be trained on.
        """
        generates = self.generates_answers
        conversations = conversations_of(example, generates_answers=generates)
        parts = [
            (conversation, self._rendered(conversation, example)) for conversation in conversations
        ]
        for _, rendered in parts:
            self.account.add(rendered.account, place)
        return [
            (conversation, rendering)
            for conversation, rendered in parts
            for rendering in rendered.renderings
        ]

    def _rendered(self, conversation: LearnedConversation, example: Example) -> RenderedExample:
        template, options, turns = self.template, self.options, conversation.turns
        if conversation.is_prompt:
            _require_no_tools(example)
            account = Account()
            prompt = render_prompt(template, options, turns, example.tools, account)
            return RenderedExample((Rendering(prompt, (), len(prompt)),), account)
        rendered = render_example(
            template, options, turns, example.tools, learned_from=conversation.learned_from
        )
        if example.rejected or example.label is not None:
            _require_plain_answer(rendered.renderings)
        return rendered


def _require_no_tools(example: Example) -> None:
    """Raise RowError for a prompt with tools: the trainer that answers it renders none."""
    if example.tools:
        raise RowError(
            "tools",
            f"{counted(len(example.tools), 'tool')}: prompts to answer in training have no tools",
            f"有 {len(example.tools)} 个工具：训练时作答的提示不支持工具",
        )


def _require_plain_answer(renderings: Sequence[Rendering]) -> None:
    """Raise RowError for an answer that is not compared as one text with equal tokens."""
    if len(renderings) > 1:
        raise RowError(
            "turns",
            f"the compared answer has {len(renderings)} turns, which the chat template renders "
            "differently as the conversation grows",
            f"参与比较的回答有 {len(renderings)} 轮，而对话模板会随对话增长改写它们",
        )
    weights = {span.weight for rendering in renderings for span in rendering.spans}
    if weights - {1.0}:
        raise RowError(
            "weight",
            f"weight {max(weights - {1.0}):g}: answers that are compared have no weights; remove "
            "it, or use stage: sft",
            f"weight {max(weights - {1.0}):g}：参与比较的回答不支持权重；请去掉，或用 stage: sft",
        )
