"""Statistics of pairs and labelled answers: lengths, repeated prompts, balance of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.data.example import Example, Turn
from swiftbox.data.preferences import shared_turns
from swiftbox.language import text

BIASED = 0.7
"""Share of longer chosen answers above which a model is likely to learn length."""

BALANCED = (1.0, 4 / 3)
"""Recommended range of desirable_weight * desirable / (undesirable_weight * undesirable).

arXiv:2402.01306, section 4.2.
"""


@dataclass
class Preferences:
    """Counts over pairs and labelled answers; `prompts` are hashes, None if not counted."""

    labelled: bool
    """Whether a pair counts as a desirable and an undesirable answer (KTO)."""
    prompts: set[int] | None
    pairs: int = 0
    longer_chosen: int = 0
    log_ratios: float = 0.0
    repeated_prompts: int = 0
    desirable: int = 0
    undesirable: int = 0

    def add(self, example: Example) -> None:
        """Count one example."""
        if example.rejected:
            at = shared_turns(example.messages, example.rejected)
            self._add_pair(example, at)
        else:
            at = len(example.messages) - 1
            self.desirable += bool(example.label)
            self.undesirable += not example.label
        if self.prompts is not None:
            prompt = hash(tuple([(turn.role, turn.content) for turn in example.messages[:at]]))
            self.repeated_prompts += prompt in self.prompts
            self.prompts.add(prompt)

    def _add_pair(self, example: Example, at: int) -> None:
        chosen, rejected = _characters(example.messages[at:]), _characters(example.rejected[at:])
        self.pairs += 1
        self.longer_chosen += chosen > rejected
        self.log_ratios += math.log(chosen / rejected)
        self.desirable += self.labelled
        self.undesirable += self.labelled

    def weigh(self, before: tuple[int, int], times: float) -> None:
        """Weight the answers since `before` by how often their dataset is taken."""
        self.desirable = before[0] + round((self.desirable - before[0]) * times)
        self.undesirable = before[1] + round((self.undesirable - before[1]) * times)

    def data(self) -> dict[str, Any]:
        """Return the statistics as JSON values; `length_ratio` is a geometric mean over pairs."""
        data: dict[str, Any] = {"repeated_prompts": self.repeated_prompts}
        if self.pairs:
            data |= {
                "pairs": self.pairs,
                "longer_chosen": round(self.longer_chosen / self.pairs, 4),
                "length_ratio": round(math.exp(self.log_ratios / self.pairs), 4),
            }
        if self.desirable or self.undesirable:
            advised = advised_weights(self.desirable, self.undesirable)
            data |= {"desirable": self.desirable, "undesirable": self.undesirable}
            data["advised_weights"] = advised
        return data


def _characters(turns: Iterable[Turn]) -> int:
    """Count the characters of turns, at least one: an answer may consist of a tool call."""
    count = sum(len(turn.content) + len(str(turn.tool_calls or "")) for turn in turns)
    return max(count, 1)


def advised_weights(desirable: int, undesirable: int) -> dict[str, list[float]] | None:
    """Return the recommended range of each KTO weight; None if one kind of answer is missing.

    The rarer kind gets a weight, the other keeps 1.
    """
    if not desirable or not undesirable:
        return None
    low, high = BALANCED
    share = desirable / undesirable
    weights = {"desirable_weight": [1.0, 1.0], "undesirable_weight": [1.0, 1.0]}
    if share < low:
        weights["desirable_weight"] = _inside(low / share, high / share)
    elif share > high:
        weights["undesirable_weight"] = _inside(share / high, share / low)
    return weights


def _inside(low: float, high: float) -> list[float]:
    """Round a range to hundredths without leaving it."""
    return [math.ceil(low * 100 - 1e-9) / 100, math.floor(high * 100 + 1e-9) / 100]


def lines(data: Mapping[str, Any]) -> list[str]:
    """Describe the statistics of `Preferences.data`, and what they mean for the training."""
    described: list[str] = []
    if data.get("pairs"):
        described += _pairs(data)
    if "advised_weights" in data:
        described += _answers(data)
    if data.get("identical"):
        count = data["identical"]
        pairs = "1 identical pair is" if count == 1 else f"{count} identical pairs are"
        described.append(
            text(f"{pairs} among the bad rows", f"坏行中有 {count} 个完全相同的偏好对")
        )
    if data["repeated_prompts"]:
        count = data["repeated_prompts"]
        rows = "row repeats" if count == 1 else "rows repeat"
        described.append(
            text(f"{count} {rows} the prompt of an earlier row", f"{count} 行的提问与前面的行重复")
        )
    return described


def _pairs(data: Mapping[str, Any]) -> list[str]:
    share, ratio = data["longer_chosen"], data["length_ratio"]
    described = [
        text(
            f"pairs: {data['pairs']}; chosen is longer in {share:.0%}, on average "
            f"{ratio:.2f} x as long as rejected",
            f"偏好对：{data['pairs']}；其中 {share:.0%} 的 chosen 更长，"
            f"平均长度为 rejected 的 {ratio:.2f} 倍",
        )
    ]
    if share > BIASED:
        described.append(
            text(
                "length bias: the model may learn to answer longer rather than better; add pairs "
                "in which the shorter answer is better",
                "长度偏差：模型可能学到“更长”而不是“更好”；请补充较短回答更好的偏好对",
            )
        )
    return described


def _answers(data: Mapping[str, Any]) -> list[str]:
    good, poor, advised = data["desirable"], data["undesirable"], data["advised_weights"]
    line = text(
        f"answers: {good} desirable, {poor} undesirable",
        f"回答：{good} 个好，{poor} 个差",
    )
    if advised is None:
        return [
            line + text("; kto needs both kinds, one is missing", "；kto 需要两种，现缺少其中一种")
        ]
    for key, (low, high) in advised.items():
        if (low, high) != (1.0, 1.0):
            advice = text(
                f"{key}: {low:g} to {high:g} balances them", f"建议 {key} 取 {low:g} 到 {high:g}"
            )
            return [line + text("; ", "；") + advice]
    return [line + text("; balanced, no weights needed", "；比例均衡，无需加权")]
