"""Changes to the turns of a conversation, for templates that refuse it as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from swiftbox.templates.abilities import Abilities
from swiftbox.templates.adapted_turn import SYSTEM, AdaptedTurn
from swiftbox.templates.call_ids import CALL_ID

BETWEEN = "\n\n"
"""What stands between texts that are joined into one turn."""


def system_into_user(turns: list[AdaptedTurn], abilities: Abilities) -> list[AdaptedTurn]:
    """Put each system text that the template refuses in front of the next user turn."""
    result: list[AdaptedTurn] = []
    waiting: list[AdaptedTurn] = []
    for place, turn in enumerate(turns):
        is_rendered = abilities.system if place == 0 else abilities.middle_system
        if turn.role in SYSTEM and not is_rendered:
            waiting.append(turn)
        elif turn.role == "user" and waiting:
            texts = [*(system.content for system in waiting), turn.content]
            result.append(replace(turn, content=BETWEEN.join(texts)))
            waiting = []
        else:
            result.append(turn)
    if len(result) == len(turns):
        return turns
    return result + [replace(system, role="user") for system in waiting]


def joined_neighbours(turns: list[AdaptedTurn]) -> list[AdaptedTurn]:
    """Join neighbouring turns of one role, but not tool results."""
    result: list[AdaptedTurn] = []
    for turn in turns:
        before = result[-1] if result else None
        if before and before.role == turn.role != "tool" and before.weight == turn.weight:
            result[-1] = replace(
                before,
                content=_joined(before.content, turn.content),
                reasoning=_joined(before.reasoning, turn.reasoning),
                calls=before.calls + turn.calls,
                extra={**before.extra, **turn.extra},
            )
        else:
            result.append(turn)
    return result


def _joined(first: str, second: str) -> str:
    return BETWEEN.join(part for part in (first, second) if part)


def sequential_calls(turns: Sequence[AdaptedTurn]) -> list[AdaptedTurn]:
    """Return turns in which each call is followed by its result: A, a, B, b for A, B, a, b.

    A model whose format has a single call per turn (gpt-oss, Llama 3.1) stops after a call, and
    makes the next one when it has read the result. Calls that do not have a result each stay
    together.
    """
    result: list[AdaptedTurn] = []
    place = 0
    while place < len(turns):
        turn = turns[place]
        results = turns[place + 1 : place + 1 + len(turn.calls)]
        paired = _paired(turn, results) if len(turn.calls) > 1 else None
        if paired is None:
            result.append(turn)
            place += 1
        else:
            result += paired
            place += 1 + len(results)
    return result


def _paired(turn: AdaptedTurn, results: Sequence[AdaptedTurn]) -> list[AdaptedTurn] | None:
    """Return each call with its result; None if there is not one result for each call."""
    is_complete = len(results) == len(turn.calls) and all(each.role == "tool" for each in results)
    ids = [str(call.get("id", "")) for call in turn.calls]
    by_id = {each.extra.get(CALL_ID, ""): each for each in results}
    if is_complete and len(by_id) == len(ids) and set(by_id) == set(ids):
        results = [by_id[call_id] for call_id in ids]
    return list(_alternating(turn, results)) if is_complete else None


def _alternating(turn: AdaptedTurn, results: Sequence[AdaptedTurn]) -> Iterator[AdaptedTurn]:
    """Yield a turn for each call, the first with the text and the reasoning, and its result."""
    for number, (call, result) in enumerate(zip(turn.calls, results, strict=True)):
        single = replace(turn, calls=(call,))
        yield single if number == 0 else replace(single, content="", reasoning="")
        yield result
