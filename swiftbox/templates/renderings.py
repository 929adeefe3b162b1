"""From a conversation to the texts that are trained on, with the spans to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.account import Account
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal


@dataclass(frozen=True)
class LearnedSpan:
    """A part of a rendering that is learned: characters, the index of its turn, its weight."""

    start: int
    end: int
    turn: int
    weight: float = 1.0


@dataclass(frozen=True)
class Rendering:
    """A text to train on; `prompt_end` is where the prompt of the first learned turn ends."""

    text: str
    spans: tuple[LearnedSpan, ...]
    prompt_end: int


@dataclass(frozen=True)
class RenderedExample:
    """The renderings of a conversation (several with `turns: each`), and what happened to it."""

    renderings: tuple[Rendering, ...]
    account: Account


def render_example(
    template: ConversationTemplate,
    options: RenderOptions,
    turns: Sequence[Turn],
    tools: Sequence[Any] = (),
    *,
    learned_from: int = 0,
) -> RenderedExample:
    """Render a conversation; its assistant turns from index `learned_from` on are learned.

    Raises RowError for a conversation that the template refuses or whose words it drops.
    """
    account = Account()
    messages = [turn.to_dict() for turn in turns]
    learned = [
        index
        for index, turn in enumerate(turns)
        if turn.role == "assistant" and index >= learned_from and getattr(turn, "weight", 1.0) != 0
    ]
    try:
        rendered = template.render(messages, tools)
        spans = []
        for index in learned:
            start = len(template.render(messages[:index], tools, prompt=True))
            end = len(template.render(messages[: index + 1], tools))
            spans.append(
                LearnedSpan(start, end, index, float(getattr(turns[index], "weight", 1.0)))
            )
    except TemplateRefusal as refusal:
        raise RowError(
            "template",
            f"the chat template refuses it: {refusal}",
            f"对话模板不接受该行：{refusal}",
        ) from None
    account.count("rows:all")
    prompt_end = spans[0].start if spans else len(rendered)
    if options.train_on_prompt:
        spans = [LearnedSpan(0, len(rendered), -1)]
    return RenderedExample((Rendering(rendered, tuple(spans), prompt_end),), account)


def render_prompt(
    template: ConversationTemplate,
    options: RenderOptions,
    turns: Sequence[Turn],
    tools: Sequence[Any] = (),
) -> str:
    """Return the prompt of the next answer, as the server renders it; raise RowError if refused."""
    del options
    try:
        return template.render([turn.to_dict() for turn in turns], tools, prompt=True)
    except TemplateRefusal as refusal:
        raise RowError(
            "template",
            f"the chat template refuses it: {refusal}",
            f"对话模板不接受该行：{refusal}",
        ) from None
