"""What preference data looks like as a whole: which answers are longer, what repeats, the balance.

A model trained on pairs whose better answer is nearly always the longer one learns to be long
(arXiv:2310.03716).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swiftbox.data.example import Example, Message
from swiftbox.language import text

BIASED = 0.7
"""Share of pairs with the longer answer chosen (or rejected) from which it is worth a warning."""

BALANCE = (1.0, 4 / 3)
"""Bounds of desirable_weight x good over undesirable_weight x bad; arXiv:2402.01306 section 4.2."""


@dataclass
class Report:
    """Counts over pairs and judged answers; lengths in characters."""

    pairs: int = 0
    chosen_longer: int = 0
    rejected_longer: int = 0
    chosen_characters: int = 0
    rejected_characters: int = 0
    repeated_prompts: int = 0
    good: int = 0
    bad: int = 0
    _prompts: set[int] = field(default_factory=set, repr=False)

    def add(self, example: Example) -> None:
        """Count an example; those that are neither a pair nor judged do not count."""
        if example.rejected:
            self._add_pair(example)
        elif example.label is not None:
            self.good += example.label
            self.bad += not example.label

    def _add_pair(self, example: Example) -> None:
        begins = alike(example.messages, example.rejected)
        chosen = sum(len(one.content) for one in example.messages[begins:])
        rejected = sum(len(one.content) for one in example.rejected[begins:])
        self.pairs += 1
        self.chosen_longer += chosen > rejected
        self.rejected_longer += rejected > chosen
        self.chosen_characters += chosen
        self.rejected_characters += rejected
        prompt = hash(tuple((one.role, one.content) for one in example.messages[:begins]))
        self.repeated_prompts += prompt in self._prompts
        self._prompts.add(prompt)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts for programs; empty where there is neither a pair nor a label."""
        names = ("pairs", "chosen_longer", "rejected_longer", "repeated_prompts", "good", "bad")
        found = {name: getattr(self, name) for name in names}
        return found if self.pairs or self.good or self.bad else {}

    def lines(self) -> list[str]:
        """Return the report for people."""
        found = []
        if self.pairs:
            found += self._lines_of_pairs()
        if self.good or self.bad:
            found.append(
                text(
                    f"answers: {self.good} good, {self.bad} bad",
                    f"回答：好 {self.good}，坏 {self.bad}",
                )
                + self._advice()
            )
        return found

    def _lines_of_pairs(self) -> list[str]:
        longer = self.chosen_longer / self.pairs
        ratio = self.chosen_characters / max(1, self.rejected_characters)
        found = [
            text(
                f"pairs: the chosen answer is longer in {longer:.0%}, {ratio:.2f} times as long "
                "on average",
                f"样本对：{longer:.0%} 的被选回答更长，平均为另一回答的 {ratio:.2f} 倍",
            )
        ]
        if longer >= BIASED:
            found.append(
                text(
                    "  ! the model may learn to be long rather than better",
                    "  ! 模型可能学到“更长”而不是“更好”",
                )
            )
        if self.rejected_longer / self.pairs >= BIASED:
            found.append(
                text(
                    "  ! the model may learn to be short rather than better",
                    "  ! 模型可能学到“更短”而不是“更好”",
                )
            )
        if self.repeated_prompts:
            found.append(
                text(
                    f"  {self.repeated_prompts} pairs repeat a prompt of another",
                    f"  {self.repeated_prompts} 对样本的提示与其他样本相同",
                )
            )
        return found

    def _advice(self) -> str:
        """Return the weight that evens good and bad answers out; empty when they are even."""
        if not self.good or not self.bad:
            return text("; all are of one kind", "；全部为同一类")
        least, most = BALANCE
        if least <= self.good / self.bad <= most:
            return ""
        if self.good > self.bad:
            weights = (self.good / self.bad / most, self.good / self.bad / least)
            name = "undesirable_weight"
        else:
            weights = (self.bad / self.good * least, self.bad / self.good * most)
            name = "desirable_weight"
        span = f"{weights[0]:.2f}..{weights[1]:.2f}"
        return text(f"; {name} between {span} evens them out", f"；{name} 取 {span} 可平衡两者")


def alike(one: Sequence[Message], other: Sequence[Message]) -> int:
    """Count the turns that both conversations begin with."""
    limit = min(len(one), len(other))
    return next((at for at in range(limit) if one[at] != other[at]), limit)
