"""How often the tools save and evaluate: after updates, epochs, or a number of times per epoch."""

from __future__ import annotations

from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    Translate,
    adopted,
    no_effect,
    number,
    renamed,
)
from swiftbox.language import text

LAST_UPDATE = 0.9999
"""A share of all updates that is rounded up to the last one."""


def interval_rows(*, epochs_key: str, default_epochs: float) -> Rows:
    """Return the rows of a tool; `default_epochs` are trained if the file does not say."""

    def times_per_epoch(ours: str, count: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        epochs = foreign.values.get(epochs_key) or default_epochs
        return [KeyOutcome("adopted", {ours: share_of_run(ours, count, epochs)})]

    def save_strategy(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if value in ("no", False):
            return adopted(save_steps=0)
        if value == "epoch":
            return times_per_epoch("save_steps", 1, foreign)
        if value == "best":
            return adopted(load_best_model_at_end=True)
        return [no_effect(text("checkpoints are saved by steps here too", "此处同样按步保存"))]

    def eval_strategy(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if value == "epoch":
            return times_per_epoch("eval_steps", 1, foreign)
        why = text("held-out rows are evaluated every eval_steps", "每 eval_steps 步评估验证数据")
        return [no_effect(why)]

    return {
        "saves_per_epoch": lambda count, foreign: times_per_epoch("save_steps", count, foreign),
        "evals_per_epoch": lambda count, foreign: times_per_epoch("eval_steps", count, foreign),
        "save_strategy": save_strategy,
        "eval_strategy": eval_strategy,
        "evaluation_strategy": eval_strategy,
        "save_steps": unless_epoch("save_steps", "save_strategy"),
        "eval_steps": unless_epoch("eval_steps", "eval_strategy", "evaluation_strategy"),
    }


def share_of_run(ours: str, times: Any, epochs: Any) -> float:
    """Return an interval as a share of all updates; the end is saved in any case."""
    total = number(epochs), number(times)
    if all(isinstance(factor, (int, float)) and factor > 0 for factor in total):
        share = 1 / (total[0] * total[1])
        if share < 1:
            return float(round(share, 6))
    return 0 if ours == "save_steps" else LAST_UPDATE


def unless_epoch(ours: str, *strategies: str) -> Translate:
    """Return the row of a number of updates, which another strategy ignores."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        for strategy in strategies:
            chosen = foreign.values.get(strategy, "steps")
            if chosen in ("epoch", "no", False):
                why = text(
                    f"{strategy}: {chosen} does not use it", f"{strategy}: {chosen} 时不使用"
                )
                return [no_effect(why)]
        return [*renamed(ours)(value, foreign)]

    return translate
