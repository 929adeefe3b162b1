"""Rows that are a preference: two conversations with the same beginning, the chosen one first.

The formats of ms-swift, TRL and LLaMA-Factory:
https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html
https://huggingface.co/docs/trl/dataset_formats#preference
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swiftbox.data.cells import Row, first, in_column, turns_in
from swiftbox.data.column_names import REASONING_COLUMNS
from swiftbox.data.conversations import question_in, read_conversation
from swiftbox.data.example import Example, RowError, Turn
from swiftbox.data.loss_weights import require_learned
from swiftbox.data.tool_calls import read_tools
from swiftbox.data.turn_order import complete_turns, turns_after_answer

REJECTED = ("rejected_response", "rejected_messages", "rejected")
"""Columns next to a conversation that hold its rejected end."""

NUMBERED = ("response_0", "response_1")
BETTER = "better_response_id"
"""Columns of two answers, and of the number of the better one."""

IDENTICAL = "identical"
"""The kind of bad rows whose two conversations are the same."""

Turns = list[Turn]


def read_rejected(row: Row) -> Example:
    """Read a conversation with a `rejected_response` or `rejected_messages` column.

    Several rejected turns replace everything after the user's last turn, a single one replaces the
    last turn.
    """
    # Thoughts in a column belong to one of the two answers: they would decide between them.
    row = {name: value for name, value in row.items() if name not in REASONING_COLUMNS}
    good = read_conversation(row)
    key = next((name for name in REJECTED if row.get(name)), first(row, REJECTED))
    rejected = turns_in(row, key, "assistant")
    turns = list(good.messages)
    if _is_answer(rejected):
        last_user = max(at for at, turn in enumerate(turns) if turn.role == "user")
        shared = turns[:-1] if len(rejected) == 1 else turns[: last_user + 1]
        rejected = [*shared, *rejected]
    else:
        system = [turn for turn in turns[:1] if turn.role == "system"]
        rejected = _from_prompt(system, rejected, key)
    return _pair(good, _complete(rejected, row, key), turns_after_answer(rejected))


def read_chosen(row: Row) -> Example:
    """Read `chosen` and `rejected`: texts, turns or lists of turns that answer the prompt.

    Lists may repeat the prompt, and must if the row has none.
    """
    prompt = question_in(row)
    if prompt and prompt[-1].role == "assistant":
        raise RowError(
            "order",
            "the prompt ends with an assistant turn; chosen and rejected should answer a user",
            "提问部分以 assistant 轮次结尾，而 chosen 与 rejected 应是对用户的回答",
        )
    chosen = _continued(prompt, row, "chosen")
    rejected = _continued(prompt, row, "rejected")
    tools = read_tools(row) if "tools" in row else ()
    good = Example(_complete(chosen, row, "chosen"), tools, cut=turns_after_answer(chosen))
    return _pair(good, _complete(rejected, row, "rejected"), turns_after_answer(rejected))


def read_better(row: Row) -> Example:
    """Read `{"prompt", "response_0", "response_1", "better_response_id"}` (PKU-SafeRLHF)."""
    better = row[BETTER]
    if isinstance(better, bool) or better not in (0, 1, "0", "1"):
        raise RowError(
            "label",
            f"{BETTER} should be 0 or 1 (got {str(better)[:40]})",
            f"{BETTER} 应为 0 或 1（当前为 {str(better)[:40]}）",
        )
    chosen, rejected = NUMBERED if int(better) == 0 else NUMBERED[::-1]
    return read_chosen({**row, "chosen": row[chosen], "rejected": row[rejected]})


def shared_turns(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> int:
    """Count the turns at the beginning that two conversations share."""
    count = 0
    for turn, other in zip(chosen, rejected, strict=False):
        if not _alike(turn, other):
            break
        count += 1
    return count


def _alike(turn: Turn, other: Turn) -> bool:
    """Return whether two turns say the same, whatever their weights in the loss."""
    return turn == other or replace(turn, weight=other.weight) == other


def _is_answer(turns: Turns) -> bool:
    return bool(turns) and turns[0].role in ("assistant", "tool")


def _continued(prompt: Turns, row: Row, key: str) -> Turns:
    """Return the prompt with the turns of a column after it, which may repeat the prompt."""
    turns = turns_in(row, key, "assistant")
    if not _is_answer(turns):
        return _from_prompt(prompt, turns, key)
    if not prompt:
        raise RowError(
            "prompt",
            f"{key} holds only an answer, and the row has no prompt",
            f"{key} 只有回答，而该行没有 prompt",
        )
    return [*prompt, *turns]


def _from_prompt(prompt: Turns, turns: Turns, key: str) -> Turns:
    """Return a conversation that repeats the prompt; either may omit the system text."""
    system, prompt = _split_system(prompt)
    other_system, turns = _split_system(turns)
    if shared_turns(turns, prompt) < len(prompt) or (
        system and other_system and system != other_system
    ):
        raise RowError(
            "prompt",
            f"{key} does not begin with the prompt of the row",
            f"{key} 的开头与该行的提问不一致",
        )
    return [*(other_system or system), *turns]


def _split_system(turns: Turns) -> tuple[Turns, Turns]:
    at = 1 if turns and turns[0].role == "system" else 0
    return turns[:at], turns[at:]


def _complete(turns: Turns, row: Row, key: str) -> tuple[Turn, ...]:
    try:
        return complete_turns(turns, row)
    except RowError as error:
        raise in_column(key, error) from None


def _pair(good: Example, rejected: tuple[Turn, ...], cut: int) -> Example:
    chosen = good.messages
    at = shared_turns(chosen, rejected)
    if at == len(chosen) == len(rejected):
        raise RowError(
            IDENTICAL,
            "chosen and rejected are identical: no preference to learn",
            "chosen 与 rejected 完全相同：没有可学习的偏好",
        )
    if at in (len(chosen), len(rejected)):
        longer, shorter = ("rejected", "chosen") if at == len(chosen) else ("chosen", "rejected")
        raise RowError(
            "prompt",
            f"{longer} continues after the end of {shorter}: both should answer the same turn",
            f"{longer} 在 {shorter} 结束之后继续：两者应回答同一轮",
        )
    if not chosen[at].role == rejected[at].role == "assistant":
        raise RowError(
            "prompt",
            f"chosen and rejected differ at message {at + 1}, before their answers",
            f"chosen 与 rejected 在第 {at + 1} 条消息（回答之前）就已不同",
        )
    require_learned(chosen[at:])
    require_learned(rejected[at:])
    return replace(good, rejected=rejected, cut=good.cut + cut)
