"""How much a turn counts in the loss: the keys with which datasets exclude or weight a turn.

OpenAI and Mistral write `weight: 0`, ms-swift `loss: false` and `loss_scale: 2.0`, axolotl
`train: false`, UI-TARS `loss_mask: 0`, torchtune `masked: true`, LLaMA-Factory `loss_weight: 0.0`.
A column of the same name may hold a list for all turns of its row, or for all answers:
https://platform.openai.com/docs/guides/fine-tuning
https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html
https://docs.axolotl.ai/docs/dataset-formats/conversation.html
https://meta-pytorch.org/torchtune/main/basics/messages.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from swiftbox.data.example import NOTHING_TO_LEARN, RowError, Turn
from swiftbox.data.roles import ROLE_OF, SPEAKER_KEYS, speaker_name

WEIGHT_KEYS = tuple("weight loss train training loss_mask mask loss_scale loss_weight".split())
"""Keys of a turn's weight: false and 0 exclude it, true and 1 keep it, other numbers scale it."""

EXCLUDED = "masked"
"""The key whose `true` excludes a turn."""

DETAIL_KEYS = ("train_detail", "training_detail")
"""Keys that exclude parts of a turn (axolotl)."""

PRESENT = frozenset((*WEIGHT_KEYS, EXCLUDED, *DETAIL_KEYS))
"""All keys that this file reads."""

PAIR_ANSWERS = ("output", "assistant")
"""The answer of a turn that is a pair of question and answer (XTuner, ms-swift)."""

BOOLEANS = {"true": 1.0, "false": 0.0}


def weight_of(turn: Mapping[str, Any], number: int) -> float:
    """Return the weight of a turn in the loss: the product of all its keys, 1 without any."""
    weight = 1.0
    if PRESENT.isdisjoint(turn):
        return weight
    for key in WEIGHT_KEYS:
        if turn.get(key) is not None:
            weight *= _number(turn[key], key, number)
    if turn.get(EXCLUDED) is not None and _number(turn[EXCLUDED], EXCLUDED, number):
        return 0.0
    for key in DETAIL_KEYS:
        if turn.get(key):
            raise RowError(
                "weight",
                f"message {number}: {key} excludes parts of a turn, which is not supported; "
                "split the turn, or exclude it whole (weight: 0)",
                f"第 {number} 条消息：不支持用 {key} 排除一轮中的部分内容；"
                "请拆分该轮，或整轮排除（weight: 0）",
            )
    return weight


def weight_columns(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of a row that hold a list of weights of its turns."""
    if PRESENT.isdisjoint(row):
        return ()
    return tuple([key for key in (*WEIGHT_KEYS, EXCLUDED) if isinstance(row.get(key), list)])


def weighted_turns(turns: list[Any], row: Mapping[str, Any]) -> list[Any]:
    """Return the turns of a row with the weights that its columns give to them.

    Raises RowError for a list that is neither for all turns nor for all answers.
    """
    for column in weight_columns(row):
        turns = _with_weights(turns, row[column], column)
    return turns


def _with_weights(turns: list[Any], weights: list[Any], column: str) -> list[Any]:
    answers = [at for at, turn in enumerate(turns) if _is_answer(turn)]
    places = range(len(turns)) if len(weights) == len(turns) else answers
    if len(weights) != len(places) or not all(isinstance(turn, Mapping) for turn in turns):
        raise RowError(
            "weight",
            f"{column} should have a value for each of the {len(turns)} turns or {len(answers)} "
            f"answers (has {len(weights)})",
            f"{column} 应给出 {len(turns)} 轮或 {len(answers)} 个回答各自的值"
            f"（当前有 {len(weights)} 个）",
        )
    weighted = list(turns)
    for place, weight in zip(places, weights, strict=True):
        weighted[place] = {**turns[place], column: weight}
    return weighted


def _is_answer(turn: Any) -> bool:
    """Tell whether a turn has a weight: an answer, or a pair of question and answer."""
    if not isinstance(turn, Mapping):
        return False
    speaker = next((turn[key] for key in SPEAKER_KEYS if turn.get(key) is not None), None)
    if speaker is None:
        return any(turn.get(key) for key in PAIR_ANSWERS)
    return isinstance(speaker, str) and ROLE_OF.get(speaker_name(speaker)) == "assistant"


def require_learned(turns: Iterable[Turn]) -> None:
    """Raise RowError if no assistant turn has a weight: the row has nothing to learn."""
    if not any(turn.weight for turn in turns if turn.role == "assistant"):
        raise RowError(
            NOTHING_TO_LEARN,
            "nothing to learn: every assistant turn has weight 0",
            "没有可学习的内容：所有 assistant 轮次的权重都是 0",
        )


def _number(value: Any, key: str, number: int) -> float:
    weight = math.nan
    if isinstance(value, str):
        value = BOOLEANS.get(value.strip().lower(), value)
    if isinstance(value, (bool, int, float, str)):
        try:
            weight = float(value)
        except (ValueError, OverflowError):
            weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        got = str(value)[:40]
        raise RowError(
            "weight",
            f"message {number}: {key} should be true, false or a number of at least 0 (got {got})",
            f"第 {number} 条消息：{key} 应为 true、false 或不小于 0 的数（当前为 {got}）",
        )
    return weight
