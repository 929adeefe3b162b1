"""Which checkpoint becomes the result, and when a training ends before its last update."""

from __future__ import annotations

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.formatting import counted
from swiftbox.language import text

LOSS = "loss"
"""The metric that every method has on held-out rows."""

LOWER_IS_BETTER = ("loss", "kl", "rewards/rejected", "rewards/undesirable", "mse", "mae")
"""Metrics of evaluations whose smaller values are better."""


class BestModelFields(Frozen):
    """Early stopping, and the best checkpoint as the result."""

    early_stopping_patience: int | None = setting(
        None,
        label_zh="早停耐心",
        en="stop after this many evaluations in a row without improvement; empty: never",
        zh="连续多少次评估没有改善就停止；留空表示不早停",
        section="run",
        ge=1,
        limit=1_000_000,
    )
    early_stopping_threshold: float = setting(
        0.0,
        label_zh="早停阈值",
        en="early stopping: a smaller improvement does not count",
        zh="早停：小于此值的改善不算改善",
        section="run",
        ge=0,
        limit=1_000_000,
    )
    load_best_model_at_end: bool | None = setting(
        None,
        label_zh="取最佳检查点",
        en="the result is the checkpoint that was best on the held-out rows, which is always "
        "kept; empty: with early_stopping_patience",
        zh="结果取验证数据上最好的检查点，它始终保留；留空：设了 early_stopping_patience 时为是",
        section="run",
    )
    metric_for_best_model: str = setting(
        LOSS,
        label_zh="最佳指标",
        en="what an evaluation is judged by: loss, or a metric of the method such as "
        "rewards/accuracies",
        zh="按什么判断评估好坏：loss，或训练方法的指标，例如 rewards/accuracies",
        section="run",
        min_length=1,
    )
    greater_is_better: bool | None = setting(
        None,
        label_zh="越大越好",
        en="whether larger values of metric_for_best_model are better; empty: by the metric",
        zh="metric_for_best_model 是否越大越好；留空则按指标判断",
        section="run",
    )

    @property
    def keeps_best(self) -> bool:
        """Return whether the best checkpoint is the result."""
        if self.load_best_model_at_end is None:
            return self.early_stopping_patience is not None
        return self.load_best_model_at_end

    @property
    def best_of_evaluations(self) -> bool:
        """Return whether evaluations are compared with each other."""
        return self.keeps_best or self.early_stopping_patience is not None

    @property
    def best_metric(self) -> str:
        """Return the metric by its name in events: without `eval_`."""
        return self.metric_for_best_model.removeprefix("eval_")

    @property
    def prefers_greater(self) -> bool:
        """Return whether larger values are better."""
        if self.greater_is_better is None:
            return self.best_metric not in LOWER_IS_BETTER
        return self.greater_is_better


def endless_patience(planned: int, patience: int) -> str:
    """Say that a training has too few evaluations to be stopped early."""
    number = counted(planned, "evaluation")
    return text(
        f"early_stopping_patience: {patience} cannot run out in {number}; lower eval_steps",
        f"early_stopping_patience：只有 {planned} 次评估，{patience} 次的耐心用不完；"
        "请减小 eval_steps",
    )
