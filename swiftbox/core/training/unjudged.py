"""Answers that a reward function does not judge: counted, and neither gaining nor losing by it.

TRL leaves out of a group the answers that no function judges. Where another function judges them,
it takes a missing reward for 0, which says "wrong" where nothing is known; here they get the mean
of the function over their group, which says nothing. Shapes: A answers (groups of G), F functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from swiftbox.core.losses.answer_judge import LONGEST_WAIT_S, MEMORY, TIME, WAIT
from swiftbox.core.losses.math_equality import CPU_S
from swiftbox.core.losses.reward_functions import Accuracy
from swiftbox.formatting import duration, size
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.security.template_trial import MEMORY_BYTES


def neutral_rewards(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return rewards (A, F) in which a missing one equals the mean of its function and group.

    Answers that no function judges, and groups that a function does not judge, stay NaN.
    """
    missing = torch.isnan(rewards)
    grouped = rewards.view(-1, group_size, rewards.shape[1])  # (A/G, G, F)
    means = torch.nanmean(grouped, dim=1, keepdim=True).expand_as(grouped).reshape_as(rewards)
    judged_by_another = ~missing.all(dim=1, keepdim=True)
    return torch.where(missing & judged_by_another, means, rewards)


class UnjudgedCount:
    """Counts the answers that each function does not judge, and says so when the first appear."""

    def __init__(
        self, names: Sequence[str], emit: Callable[..., None], functions: Sequence[Any] = ()
    ) -> None:
        self.names = tuple(names)
        self._emit = emit
        self._functions = [function for function in functions if isinstance(function, Accuracy)]
        self._reported: set[str] = set()

    def add(self, rewards: torch.Tensor) -> dict[str, float]:
        """Return the share of answers (A, F) not judged, for functions that left out some."""
        counts = dict(zip(self.names, torch.isnan(rewards).sum(dim=0).tolist(), strict=True))
        for name, count in counts.items():
            if count and name not in self._reported:
                self._reported.add(name)
                self._emit(events.WARNING, message=_not_judged(name, count, len(rewards)))
        for function in self._functions:
            self._report_limits(function)
        return {
            name: count / len(rewards) for name, count in counts.items() if name in self._reported
        }

    def _report_limits(self, function: Accuracy) -> None:
        for limit in function.reached_limits():
            if limit not in self._reported:
                self._reported.add(limit)
                self._emit(events.WARNING, message=_beyond(function.__name__, limit))


def _beyond(name: str, limit: str) -> str:
    limits = {
        TIME: text(f"{duration(CPU_S)} of processor time", f"{duration(CPU_S)}处理器时间"),
        MEMORY: text(f"{size(MEMORY_BYTES)} of memory", f" {size(MEMORY_BYTES)} 内存"),
        WAIT: text(f"{duration(LONGEST_WAIT_S)} in all", f"{duration(LONGEST_WAIT_S)}总时长"),
    }
    return text(
        f"{name}: comparing an answer with its solution took more than {limits[limit]}; such an "
        "answer counts as not judged",
        f"{name}：比较某个回答与标准答案时超出{limits[limit]}；这样的回答计为未评判",
    )


def _not_judged(name: str, count: int, total: int) -> str:
    return text(
        f"{name} does not judge {count} of {total} answers of this step (no answer or no solution "
        f"is stated); they neither gain nor lose by it. The share of each step is logged as "
        f"rewards/{name}/unjudged",
        f"{name} 未评判本步 {total} 个回答中的 {count} 个（未给出明确的答案或标准答案）；"
        f"这些回答不因此得分或失分。每步的比例记为 rewards/{name}/unjudged",
    )
