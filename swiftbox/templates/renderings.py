"""From a conversation to the texts that are trained on, with the spans to learn.

`all` is one rendering of the conversation. It is exact if it begins with each answer's prompt as
the server renders it, followed by that answer. Templates that rewrite earlier turns (they leave
out old reasoning) need `each`: one rendering per answer, which ends with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.abilities import abilities_of
from swiftbox.templates.account import (
    FORBIDDEN_THINKING,
    LOST,
    NOTHING_LEARNED,
    RENDERED_ANSWERS,
    REWRITTEN,
    ROWS_ALL,
    ROWS_EACH,
    ROWS_LAST,
    UNCLOSED,
    WORDLESS,
    Account,
)
from swiftbox.templates.adaptation import adapted_turns, reasoning_of, without_padding
from swiftbox.templates.adapted_turn import AdaptedTurn
from swiftbox.templates.answers import LocatedAnswer, answer_at
from swiftbox.templates.lost_words import (
    ARGUMENTS,
    CALL_NAME,
    RESULT,
    SYSTEM,
    TOOLS,
    lost_of_answer,
    lost_of_prompt,
)
from swiftbox.templates.marks_in_texts import count_marks, count_reasoning, count_tools
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.refusals import (
    cure_of,
    lost_words,
    refused_row,
    rewritten_turn,
    unlocated_answer,
)
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal
from swiftbox.templates.template_conversation import TemplateConversation


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
    row = _Row(template, options, turns, tools)
    talk = row.conversation(options, account)
    learned = [
        index
        for index, turn in enumerate(talk.turns)
        if turn.is_learned and turn.index >= learned_from
    ]
    if options.turns == "last":
        learned = learned[-1:]
    try:
        answers = [row.located(talk, index) for index in learned]
        row.require_words(talk, answers, account)
        return RenderedExample(_renderings(talk, options, answers, account), account)
    except TemplateRefusal as refusal:
        raise row.refused(refusal) from None


def render_prompt(
    template: ConversationTemplate,
    options: RenderOptions,
    turns: Sequence[Turn],
    tools: Sequence[Any] = (),
    account: Account | None = None,
) -> str:
    """Return the prompt of the next answer, as the server renders it; count what is changed.

    Raises RowError if the template refuses it or drops a system text.
    """
    row = _Row(template, options, turns, tools)
    account = Account() if account is None else account
    talk = row.conversation(options, account)
    try:
        rendered = talk.prompt(len(talk.turns))
    except TemplateRefusal as refusal:
        raise row.refused(refusal) from None
    row.require_prompt_words(talk, rendered, account)
    return rendered


def prompt_messages(
    template: ConversationTemplate, options: RenderOptions, turns: Sequence[Turn]
) -> list[dict[str, Any]]:
    """Return the messages of a prompt as its template takes them, for tools that render it."""
    return _Row(template, options, turns, ()).conversation(options, Account()).messages


@dataclass(frozen=True)
class _Row:
    """A conversation as it was read, and how it is to be rendered."""

    template: ConversationTemplate
    options: RenderOptions
    turns: Sequence[Turn]
    tools: Sequence[Any]

    def conversation(self, options: RenderOptions, account: Account) -> TemplateConversation:
        """Return the conversation as its template takes it; count what is changed."""
        template = self.template.for_tools(self.tools)
        abilities = abilities_of(template)
        turns = without_padding(self.turns, self.tools)
        adapted = adapted_turns(turns, options, abilities, account)
        return TemplateConversation(template, abilities, adapted, self.tools)

    def located(self, talk: TemplateConversation, index: int) -> LocatedAnswer:
        """Return an answer; raise RowError if it cannot be located."""
        answer = answer_at(talk, index)
        if answer is None:
            cure = cure_of(self.options, self._is_rendered)
            raise unlocated_answer(talk.turns[index], cure)
        return answer

    def refused(self, refusal: TemplateRefusal) -> RowError:
        """Return the error of a row that the template refuses."""
        cure = cure_of(self.options, self._is_rendered)
        return refused_row(str(refusal), cure, lacks_calls=self._lacks_calls)

    @property
    def _lacks_calls(self) -> bool:
        """Tell whether the row has tool calls and its template renders none in any form."""
        has_calls = any(turn.tool_calls for turn in self.turns)
        return has_calls and not abilities_of(self.template.for_tools(self.tools)).arguments

    def _is_rendered(self, options: RenderOptions) -> bool:
        """Tell whether the template renders the row and its words with these options."""
        talk = self.conversation(options, Account())
        is_answered = bool(talk.turns) and talk.turns[-1].role == "assistant"
        learned = [index for index, turn in enumerate(talk.turns) if turn.is_learned]
        try:
            rendered = talk.text if is_answered else talk.prompt(len(talk.turns))
            answers = [answer_at(talk, index) for index in learned if is_answered]
        except TemplateRefusal:
            return False
        if not all(answer and self._is_complete(talk, answer) for answer in answers):
            return False
        return all(kind == RESULT for kind, _ in _lost_prompts(talk, rendered))

    def _is_complete(self, talk: TemplateConversation, answer: LocatedAnswer) -> bool:
        """Tell whether no words of an answer are lost, unless the options allow it."""
        return self.options.lost_words == "warn" or not list(_lost(talk, answer))

    def require_words(
        self, talk: TemplateConversation, answers: list[LocatedAnswer], account: Account
    ) -> None:
        """Raise RowError for lost words, or count them as the options say."""
        count_marks(talk.template, talk.turns, account)
        count_tools(talk.turns, self.tools, talk.abilities, account)
        for answer in answers:
            count_reasoning(answer.turn, talk.abilities, account)
            lost = list(_lost(talk, answer))
            for kind in lost:
                self._lose(kind, answer.turn, account)
            account.count(WORDLESS, bool(lost) and set(lost) == set(_kinds(talk, answer)))
        learned = {answer.turn.index for answer in answers}
        for turn in talk.turns:
            if turn.role == "assistant" and turn.index not in learned:
                content = reasoning_of(turn, talk.abilities)[1]
                for kind in lost_of_answer(turn, "", content, talk.text):
                    account.count(LOST + kind)
        self.require_prompt_words(talk, talk.text, account)

    def require_prompt_words(
        self, talk: TemplateConversation, rendered: str, account: Account
    ) -> None:
        """Raise RowError for lost texts of the system or the user; count what else is lost."""
        if self.tools and not talk.abilities.tools:
            account.count(LOST + TOOLS)
        for kind, turn in _lost_prompts(talk, rendered):
            if kind == RESULT:
                account.count(LOST + kind)
            else:
                self._lose(kind, turn, account)

    def _lose(self, kind: str, turn: AdaptedTurn, account: Account) -> None:
        if self.options.lost_words == "error":
            is_curable = kind in (SYSTEM, CALL_NAME, ARGUMENTS)
            cure = cure_of(self.options, self._is_rendered) if is_curable else ""
            raise lost_words(kind, turn, cure, lacks_calls=self._lacks_calls)
        account.count(LOST + kind)


def _lost(talk: TemplateConversation, answer: LocatedAnswer) -> Iterator[str]:
    """Yield the kinds of words that are not in what is learned of an answer."""
    reasoning, content = reasoning_of(answer.turn, talk.abilities)
    return lost_of_answer(answer.turn, reasoning, content, answer.learned_words)


def _kinds(talk: TemplateConversation, answer: LocatedAnswer) -> Iterator[str]:
    """Yield the kinds of words that an answer has."""
    reasoning, content = reasoning_of(answer.turn, talk.abilities)
    return lost_of_answer(answer.turn, reasoning, content, "")


def _lost_prompts(talk: TemplateConversation, rendered: str) -> Iterator[tuple[str, AdaptedTurn]]:
    """Yield the kinds of lost words of the turns that are not answers."""
    for turn in talk.turns:
        kind = "" if turn.role == "assistant" else lost_of_prompt(turn, rendered)
        if kind:
            yield kind, turn


# ---- renderings of the answers


def _renderings(
    talk: TemplateConversation,
    options: RenderOptions,
    answers: list[LocatedAnswer],
    account: Account,
) -> tuple[Rendering, ...]:
    """Return one rendering with all answers where that is exact or set, else one of each."""
    rendered = talk.text
    rewritten = [answer for answer in answers if not answer.is_in(rendered)]
    account.count(FORBIDDEN_THINKING, sum(answer.needs_thinking for answer in answers))
    account.count(UNCLOSED, sum(not answer.is_closed for answer in answers))
    if not answers:
        account.count(NOTHING_LEARNED)
        return (Rendering(rendered, (), len(rendered)),)
    if options.turns == "all" and rewritten:
        raise rewritten_turn(rewritten[0].turn)
    if rewritten or options.turns == "each":
        if len(answers) > 1 or options.turns == "each":
            account.count(ROWS_EACH)
            account.count(RENDERED_ANSWERS, len(answers))
            account.count(REWRITTEN, bool(rewritten))
        else:
            account.count(ROWS_ALL)
        return tuple(_each(talk, options, answer) for answer in answers)
    account.count(ROWS_LAST if options.turns == "last" else ROWS_ALL)
    last = answers[-1]
    if last.opener and len(last.text) > len(rendered):
        rendered = last.text
    spans = tuple(span for answer in answers for span in _spans(answer))
    if options.train_on_prompt:
        excluded = _weighted(talk, talk.text, len(talk.turns), excluded_only=True)
        spans = _covering(len(rendered), (*spans, *excluded))
    return (Rendering(rendered, spans, len(answers[0].prompt)),)


def _each(talk: TemplateConversation, options: RenderOptions, answer: LocatedAnswer) -> Rendering:
    """Return the rendering that ends with an answer.

    With train_on_prompt it is learned as a whole; templates/tokens.py says which of its tokens an
    earlier rendering teaches already.
    """
    spans = _spans(answer)
    if options.train_on_prompt:
        count = talk.turns.index(answer.turn)
        spans = _covering(len(answer.text), (*_weighted(talk, answer.prompt, count), *spans))
    return Rendering(answer.text, spans, len(answer.prompt))


def _weighted(
    talk: TemplateConversation, content: str, count: int, *, excluded_only: bool = False
) -> Iterator[LearnedSpan]:
    """Yield where those of the first turns stand in `content` whose weight is not 1, or is 0."""
    for index, turn in enumerate(talk.turns[:count]):
        if turn.role == "assistant" and turn.weight != 1 and not (excluded_only and turn.weight):
            start, end = talk.words_in(content, index, count)
            yield LearnedSpan(start, end, turn.index, turn.weight)


def _covering(length: int, spans: Iterable[LearnedSpan]) -> tuple[LearnedSpan, ...]:
    """Return spans that cover a text, with weight 1 but where those given have another weight."""
    others = sorted((span for span in spans if span.weight != 1), key=lambda span: span.start)
    covering: list[LearnedSpan] = []
    begin = 0
    for span in (*others, LearnedSpan(length, length, -1)):
        covering += (LearnedSpan(begin, span.start, -1), span)
        begin = span.end
    return tuple(span for span in covering if span.weight and span.start < span.end)


def _spans(answer: LocatedAnswer) -> tuple[LearnedSpan, ...]:
    begin, turn = len(answer.prompt), answer.turn
    return tuple(
        LearnedSpan(begin + start, begin + end, turn.index, turn.weight)
        for start, end in answer.spans
    )
