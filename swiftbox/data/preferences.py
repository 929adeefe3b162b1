"""Rows that are a preference: two conversations with the same beginning, the first the better one.

As ms-swift, TRL and LLaMA-Factory write them:
https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html
https://huggingface.co/docs/trl/dataset_formats#preference
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

from __future__ import annotations

from collections.abc import Sequence

from swiftbox.data.cells import Row, about, first, turns_in
from swiftbox.data.conversations import asked_in, read_whole
from swiftbox.data.example import Example, Message, RowError
from swiftbox.data.turns import read_tools, whole_turns

REJECTED = ("rejected_response", "rejected_messages", "rejected")
"""Columns beside one whole conversation that hold the worse end of it."""

IDENTICAL = "identical"
"""The kind of the bad rows whose two conversations are the same."""

Turns = list[Message]


def read_rejected(row: Row) -> Example:
    """Read a whole conversation with `rejected_response` or `rejected_messages` beside it.

    Several final turns that are rejected stand for all that follows the last user's turn, a single
    one for the last turn.
    """
    good = read_whole(row)
    key = next((name for name in REJECTED if row.get(name)), first(row, REJECTED))
    worse = turns_in(row, key, "assistant")
    kept = list(good.messages)
    if _is_answer(worse):
        last_user = max(at for at, turn in enumerate(kept) if turn.role == "user")
        worse = [*(kept[:-1] if len(worse) == 1 else kept[: last_user + 1]), *worse]
    else:
        worse = _from_prompt([turn for turn in kept[:1] if turn.role == "system"], worse, key)
    return _pair(good, _whole(worse, row, key))


def read_chosen(row: Row) -> Example:
    """Read `chosen` and `rejected`: texts, turns or lists of them that answer what is asked.

    Lists may repeat what is asked, and must where the row asks nothing itself.
    """
    asked = asked_in(row)
    if asked and asked[-1].role == "assistant":
        raise RowError(
            "order",
            "what is asked ends with an assistant turn; chosen and rejected are to answer it",
            "提问部分以 assistant 轮次结尾，而 chosen 与 rejected 应是对它的回答",
        )
    chosen = _continued(asked, row, "chosen")
    good = Example(_whole(chosen, row, "chosen"), read_tools(row) if "tools" in row else ())
    return _pair(good, _whole(_continued(asked, row, "rejected"), row, "rejected"))


def shared_turns(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """Count the turns that two conversations begin with alike."""
    count = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        count += 1
    return count


def _is_answer(turns: Turns) -> bool:
    return bool(turns) and turns[0].role in ("assistant", "tool")


def _continued(asked: Turns, row: Row, key: str) -> Turns:
    turns = turns_in(row, key, "assistant")
    if not _is_answer(turns):
        return _from_prompt(asked, turns, key)
    if not asked:
        raise RowError(
            "prompt",
            f"{key} holds only an answer, and the row has no prompt",
            f"{key} 只有回答，而该行没有 prompt",
        )
    return [*asked, *turns]


def _from_prompt(asked: Turns, whole: Turns, key: str) -> Turns:
    """Return a conversation that repeats what is asked; either may leave the system text out."""
    system, asked = _without_system(asked)
    own_system, said = _without_system(whole)
    if said[: len(asked)] != asked or (system and own_system and system != own_system):
        raise RowError(
            "prompt",
            f"{key} does not begin with the turns that the row asks with",
            f"{key} 的开头与该行的提问不一致",
        )
    return [*(own_system or system), *said]


def _without_system(turns: Turns) -> tuple[Turns, Turns]:
    at = 1 if turns and turns[0].role == "system" else 0
    return turns[:at], turns[at:]


def _whole(turns: Turns, row: Row, key: str) -> tuple[Message, ...]:
    try:
        return whole_turns(turns, row)
    except RowError as error:
        raise about(key, error) from None


def _pair(good: Example, rejected: tuple[Message, ...]) -> Example:
    chosen = good.messages
    if chosen == rejected:
        raise RowError(
            IDENTICAL,
            "chosen and rejected are identical: there is nothing to prefer",
            "chosen 与 rejected 完全相同：没有可学习的偏好",
        )
    at = shared_turns(chosen, rejected)
    if at in (len(chosen), len(rejected)):
        longer, shorter = ("rejected", "chosen") if at == len(chosen) else ("chosen", "rejected")
        raise RowError(
            "prompt",
            f"{longer} goes on where {shorter} ends: both should answer the same turn",
            f"{longer} 在 {shorter} 结束之后继续：两者应回答同一轮",
        )
    if not chosen[at].role == rejected[at].role == "assistant":
        raise RowError(
            "prompt",
            f"chosen and rejected differ at message {at + 1}, before their answers",
            f"chosen 与 rejected 在第 {at + 1} 条消息（回答之前）就已不同",
        )
    return Example(chosen, good.tools, rejected=rejected)
