"""Which conversations of an example are rendered, and from which turn on each is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swiftbox.data.example import Example, Turn
from swiftbox.data.preferences import shared_turns


@dataclass(frozen=True)
class LearnedConversation:
    """The turns of a conversation; assistant turns from index `learned_from` on are learned.

    With `is_prompt` it is the prompt of an answer that is generated, and nothing is learned.
    """

    turns: tuple[Turn, ...]
    learned_from: int = 0
    answer: Literal["", "chosen", "rejected"] = ""
    """Which answer of a pair it ends with; empty for anything but a pair."""
    is_prompt: bool = False


def conversations_of(
    example: Example, *, generates_answers: bool = False
) -> tuple[LearnedConversation, ...]:
    """Return the conversations of an example; none for a text, two for a pair.

    Both answers of a pair are learned from the turn where they part. A labelled answer is all that
    follows the last user turn. A method that `generates_answers` learns from prompts.
    """
    turns = example.messages
    if generates_answers:
        return (LearnedConversation(turns, is_prompt=True),)
    if example.rejected:
        answer = shared_turns(turns, example.rejected)
        chosen = LearnedConversation(turns, answer, "chosen")
        return chosen, LearnedConversation(example.rejected, answer, "rejected")
    if example.label is not None:
        return (LearnedConversation(turns, _after_last_user(turns)),)
    return (LearnedConversation(turns),) if turns else ()


def _after_last_user(turns: tuple[Turn, ...]) -> int:
    return 1 + max((index for index, turn in enumerate(turns) if turn.role == "user"), default=-1)
