"""Where an answer stands: after the prompt that the server renders at that moment.

What the model has to write after that prompt is learned, with its closing token. Most templates
render prompt and answer as a prefix of the conversation up to the answer. Others do not:

- the prompt already opens a block of reasoning (`<think>`) that the answer is rendered without
- reasoning is left out of every rendered answer (DeepSeek-R1): it stands before the answer here
- there is no closing token (GLM): the model writes the first token of the next turn instead
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from swiftbox.security.template_environment import Span
from swiftbox.templates.abilities import Abilities
from swiftbox.templates.adaptation import AdaptedTurn, as_message, reasoning_of, without_nulls
from swiftbox.templates.lost_words import contains
from swiftbox.templates.prefixes import shared_start
from swiftbox.templates.template import (
    ConversationTemplate,
    TemplateRefusal,
    plain,
    plain_messages,
)

THINKING = ({"enable_thinking": True}, {"thinking": True})
"""Variables that open the reasoning in a prompt; templates have one of them."""

OPENED = re.compile(r"<(\w+)>\s*$")

PLACE = "\ue000"
"""A private letter, which no text begins with."""


@dataclass(frozen=True)
class LocatedAnswer:
    """The prompt of an answer and what is learned after it: its text, and the spans in that."""

    turn: AdaptedTurn
    prompt: str
    learned: str
    spans: tuple[Span, ...]
    """Parts of `learned`; all of it unless the template marks what is generated."""
    opener: str = ""
    """The end of `learned` that is the beginning of the next turn."""
    needs_thinking: bool = False
    """Whether the server's prompt forbids the reasoning of this answer."""

    @property
    def text(self) -> str:
        """Return the prompt with the answer."""
        return self.prompt + self.learned

    @property
    def learned_words(self) -> str:
        """Return what is learned."""
        return "".join(self.learned[start:end] for start, end in self.spans)

    def is_in(self, rendered: str) -> bool:
        """Tell whether a rendering begins with the prompt and the answer, or ends within both.

        The end that may be missing is the beginning of the next turn.
        """
        body = self.learned
        if len(rendered) == len(self.text) - len(self.opener):
            body = body.removesuffix(self.opener)
        return rendered.startswith(self.prompt) and rendered.startswith(body, len(self.prompt))


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

    def with_content(self, index: int, content: str, count: int) -> str:
        """Return the rendering of the first turns with another content of one."""
        turns = self.turns[:count]
        turns[index] = replace(turns[index], content=content)
        messages = [as_message(turn, self.abilities) for turn in turns]
        return self.template.render(messages, self.tools)


def answer_at(talk: TemplateConversation, index: int) -> LocatedAnswer | None:
    """Return the answer at `index`; None if it cannot be located.

    Raises TemplateRefusal if the template refuses the conversation.
    """
    turn, abilities = talk.turns[index], talk.abilities
    try:
        rendered, marks = talk.until(index)
    except TemplateRefusal:  # here; perhaps not as a part of the larger conversation
        return _inside(talk, index, talk.text)
    rendered = rendered.removesuffix(abilities.trailer)
    try:
        prompt = talk.prompt(index)
    except TemplateRefusal:  # nothing to answer yet: a greeting
        return _inside(talk, index, rendered)
    after = _after_prompt(talk, index, prompt, rendered)
    if after is None:
        return _inside(talk, index, rendered)
    prompt, learned, needs_thinking = after
    reasoning = reasoning_of(turn, abilities)[0]
    is_verbatim = rendered.startswith(prompt)
    if reasoning and abilities.think and not contains(learned, reasoning):
        learned = abilities.think.before + reasoning + abilities.think.after + learned.lstrip()
        is_verbatim = False
    opener = ""
    if not abilities.is_closed:
        opener = abilities.tool_opener if turn.calls else abilities.user_opener
    spans: tuple[Span, ...] = ((0, len(learned + opener)),)
    if marks and is_verbatim:
        spans = _marked(talk, index, len(prompt))
    return LocatedAnswer(turn, prompt, learned + opener, spans, opener, needs_thinking)


def _after_prompt(
    talk: TemplateConversation, index: int, prompt: str, rendered: str
) -> tuple[str, str, bool] | None:
    """Return the prompt, the answer after it, and whether the prompt is one with reasoning."""
    if rendered.startswith(prompt):
        return prompt, rendered[len(prompt) :], False
    bare = prompt.rstrip()
    if rendered.startswith(bare):
        return prompt, rendered[len(bare) :].lstrip(), False
    reasoning = reasoning_of(talk.turns[index], talk.abilities)[0]
    tail = talk.abilities.prompt_tail
    if tail and prompt.endswith(tail) and rendered.startswith(prompt[: -len(tail)]):
        body = rendered[len(prompt) - len(tail) :]
        opened = OPENED.search(tail)
        if opened:
            return prompt, f"{reasoning}\n</{opened[1]}>\n\n{body.lstrip()}", False
        if not reasoning:
            return prompt, body, False
    for variables in THINKING if reasoning else ():
        thinking = talk.prompt(index, variables)
        if rendered.startswith(thinking):
            return thinking, rendered[len(thinking) :], True
    return None


def _marked(talk: TemplateConversation, index: int, prompt_end: int) -> tuple[Span, ...]:
    """Return the generation marks of an answer, in characters after the prompt."""
    rendered, marks = talk.until(index)
    begin = 0
    if any(turn.role == "assistant" for turn in talk.turns[:index]):
        before = talk.template.render_plain(talk.messages[:index], talk.tools)
        begin = shared_start(before, rendered)
    clipped = [(max(start, prompt_end), end) for start, end in marks if start >= begin]
    return tuple((start - prompt_end, end - prompt_end) for start, end in clipped if start < end)


def _inside(talk: TemplateConversation, index: int, rendered: str) -> LocatedAnswer | None:
    """Locate an answer in a rendering by changing its content.

    This is for turns that the server renders no prompt for, such as a greeting. `rendered` has all
    turns, or those up to the answer.
    """
    turn, abilities = talk.turns[index], talk.abilities
    content = reasoning_of(turn, abilities)[1].strip()
    if not content:
        return None
    is_last = index == len(talk.turns) - 1 or rendered != talk.text
    count = index + 1 if is_last else len(talk.turns)
    start = shared_start(rendered, talk.with_content(index, PLACE, count))
    if not rendered.startswith(content, start):
        return None
    end = len(rendered) if is_last else start + len(content)
    closing = abilities.closing or abilities.user_opener
    if rendered.startswith(closing, end):
        end += len(closing)
    header = rendered.rfind(abilities.prompt, 0, start) if abilities.prompt else -1
    start = header + len(abilities.prompt) if header >= 0 else start
    return LocatedAnswer(turn, rendered[:start], rendered[start:end], ((0, end - start),))
