"""Where an answer stands: after the prompt that the server renders at that moment.

What the model has to write after that prompt is learned, with its closing token. Most templates
render prompt and answer as a prefix of the conversation up to the answer. Others do not:

- the prompt already opens a block of reasoning (`<think>`) that the answer is rendered without
- reasoning is left out of every rendered answer (DeepSeek-R1): it stands before the answer here
- there is no closing token (GLM): the model writes the first token of the next turn instead
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from swiftbox.security.template_environment import Span
from swiftbox.templates.abilities import Abilities
from swiftbox.templates.adaptation import reasoning_of
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.lost_words import contains
from swiftbox.templates.prefixes import shared_start, shared_units
from swiftbox.templates.template import TemplateRefusal
from swiftbox.templates.template_conversation import TemplateConversation

THINKING = ({"enable_thinking": True}, {"thinking": True})
"""Variables that open the reasoning in a prompt; templates have one of them."""

OPENED = re.compile(r"<(\w+)>\s*$")
THOUGHT = re.compile(r"think|thought|reason")
"""Names of the marks around reasoning."""


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
    is_closed: bool = True
    """Whether a closing token is learned: without it the model does not learn to stop."""

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


def answer_at(talk: TemplateConversation, index: int) -> LocatedAnswer | None:
    """Return the answer at `index`; None if it cannot be located.

    Raises TemplateRefusal if the template refuses the conversation.
    """
    try:
        rendered, marks = talk.until(index)
    except TemplateRefusal:  # here; perhaps not as a part of the larger conversation
        return _greeting(talk, index, talk.text)
    rendered = rendered.removesuffix(talk.abilities.trailer)
    try:
        prompt = talk.prompt(index)
    except TemplateRefusal:  # there is nothing to answer yet
        return _greeting(talk, index, rendered)
    place = _Place(talk, index, prompt, rendered)
    learned, needs_thinking = place.after_prompt(), False
    if learned is None:
        prompt, learned = place.after_thinking_prompt()
        needs_thinking = learned is not None
    if learned is None:
        prompt, learned = place.prompt, place.after_header()
    if learned is None:
        return None
    learned, opener = _completed(talk, index, learned)
    spans: tuple[Span, ...] = ((0, len(learned)),)
    if marks and rendered.startswith(prompt) and rendered.endswith(learned):
        spans = _marked(talk, index, len(prompt))
    end = max((end for _, end in spans), default=0)
    is_closed = (talk.abilities.is_closed or bool(opener)) and not learned[end:].strip()
    return LocatedAnswer(
        talk.turns[index], prompt, learned, spans, opener, needs_thinking, is_closed
    )


def _completed(talk: TemplateConversation, index: int, learned: str) -> tuple[str, str]:
    """Return an answer with its reasoning and its closing token; that one if it was missing."""
    turn, abilities = talk.turns[index], talk.abilities
    reasoning = reasoning_of(turn, abilities)[0]
    if reasoning and abilities.think and not contains(learned, reasoning):
        learned = abilities.think.before + reasoning + abilities.think.after + learned.lstrip()
    if len(turn.calls) == 1 and not learned.endswith(abilities.call_closing):
        learned += abilities.call_closing
    opener = ""
    if not abilities.is_closed:
        opener = abilities.tool_opener if turn.calls else abilities.user_opener
    return learned + opener, opener


@dataclass(frozen=True)
class _Place:
    """Where an answer stands: in the rendering up to it, after the prompt of the server."""

    talk: TemplateConversation
    index: int
    prompt: str
    rendered: str

    @property
    def reasoning(self) -> str:
        return reasoning_of(self.talk.turns[self.index], self.talk.abilities)[0]

    def after_prompt(self) -> str | None:
        """Return what follows the prompt, whatever it opens or closes at its end."""
        prompt, rendered, abilities = self.prompt, self.rendered, self.talk.abilities
        if rendered.startswith(prompt):
            return self._within_opened(rendered[len(prompt) :])
        bare = prompt.rstrip()
        if rendered.startswith(bare):
            return rendered[len(bare) :].lstrip()
        opened = OPENED.search(prompt)
        if opened and rendered.startswith(prompt[: opened.start()]):
            return self._closed(opened[1], rendered[opened.start() :])
        tail = abilities.prompt_tail
        if tail and prompt.endswith(tail) and rendered.startswith(prompt[: -len(tail)]):
            answer = rendered[len(prompt) - len(tail) :]
            is_exact = not self.reasoning or answer.lstrip().startswith(self.reasoning.strip())
            return answer if is_exact else None
        shared = len(shared_units(prompt, rendered))
        # The prompt ends the turn before, in which the template renders this answer too.
        return rendered[shared:] if prompt[shared:] == abilities.closing else None

    def _within_opened(self, body: str) -> str:
        """Return what follows a prompt that opens the reasoning: opened once, and closed."""
        opened = OPENED.search(self.prompt)
        if opened is None or not THOUGHT.search(opened[1]):
            return body
        again = re.match(rf"\s*<{opened[1]}>\n?", body)
        body = body[again.end() :] if again else body
        has_reasoning = bool(self.reasoning) and contains(body, self.reasoning)
        is_closed = has_reasoning or f"</{opened[1]}>" in body
        return body if is_closed else self._closed(opened[1], body)

    def _closed(self, opened: str, body: str) -> str:
        """Return an answer after the reasoning that its prompt opens."""
        return f"{self.reasoning}\n</{opened}>\n\n{body.lstrip()}"

    def after_thinking_prompt(self) -> tuple[str, str | None]:
        """Return a prompt that allows reasoning, and what follows it if the answer has some."""
        for variables in THINKING if self.reasoning else ():
            prompt = self.talk.prompt(self.index, variables)
            if self.rendered.startswith(prompt):
                return prompt, self.rendered[len(prompt) :]
        return self.prompt, None

    def after_header(self) -> str | None:
        """Return the answer after the end of the prompt, where the turns before are rewritten."""
        header = self.talk.abilities.prompt
        opened = OPENED.search(header)
        start = _first_word(self.talk, self.index, self.rendered)
        begin = _after(header, self.rendered, start, self.talk.abilities)
        if begin is not None and self.prompt.endswith(header):
            return self.rendered[begin:]
        if opened is None or not self.prompt.endswith(header):
            return None
        begin = _after(header[: opened.start()], self.rendered, start, self.talk.abilities)
        return None if begin is None else self._closed(opened[1], self.rendered[begin:])


def _first_word(talk: TemplateConversation, index: int, rendered: str) -> int:
    """Return where the words of an answer begin in a rendering of all turns, or those up to it."""
    count = len(talk.turns) if rendered == talk.text else index + 1
    try:
        return shared_start(rendered, talk.with_other_words(index, count))
    except TemplateRefusal:
        return 0


def _after(header: str, rendered: str, before: int, abilities: Abilities) -> int | None:
    """Return the end of the last header before a position, if no turn ends between the two."""
    begin = rendered.rfind(header, 0, before) if header else -1
    end = begin + len(header)
    is_same_turn = not abilities.closing.strip() or abilities.closing not in rendered[end:before]
    return end if begin >= 0 and is_same_turn else None


def _greeting(talk: TemplateConversation, index: int, rendered: str) -> LocatedAnswer | None:
    """Locate an answer that the server renders no prompt for, because nothing stands before it."""
    turn, abilities = talk.turns[index], talk.abilities
    if any(before.role in ("user", "assistant") for before in talk.turns[:index]):
        return None
    start = _first_word(talk, index, rendered)
    begin = _after(abilities.prompt, rendered, start, abilities)
    begin = start if begin is None else begin
    end = len(rendered)
    if index < len(talk.turns) - 1 and rendered == talk.text:
        other = talk.with_other_words(index, len(talk.turns))
        end -= shared_start(rendered[begin:][::-1], other[begin:][::-1])
        closing = abilities.closing or abilities.user_opener
        end += len(closing) if rendered.startswith(closing, end) else 0
    learned = rendered[begin:end]
    return LocatedAnswer(turn, rendered[:begin], learned, ((0, len(learned)),)) if learned else None


def _marked(talk: TemplateConversation, index: int, prompt_end: int) -> tuple[Span, ...]:
    """Return the generation marks of an answer, in characters after the prompt."""
    rendered, marks = talk.until(index)
    begin = 0
    if any(turn.role == "assistant" for turn in talk.turns[:index]):
        before = talk.template.render_plain(talk.messages[:index], talk.tools)
        begin = shared_start(before, rendered)
    clipped = [(max(start, prompt_end), end) for start, end in marks if start >= begin]
    return tuple((start - prompt_end, end - prompt_end) for start, end in clipped if start < end)
