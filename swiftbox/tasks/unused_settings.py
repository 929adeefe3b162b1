"""Settings of a training that change nothing beside the others: each is said."""

from __future__ import annotations

import math

from swiftbox.config.best_model import endless_patience
from swiftbox.config.schedule import MEASURED, WITHOUT_WARMUP
from swiftbox.config.schedule_curve import updates_of
from swiftbox.config.train import TrainConfig
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, WARNING, Remark
from swiftbox.tasks.checks import OnRemark

OF_EVALUATIONS = ("metric_for_best_model", "greater_is_better", "early_stopping_threshold")
"""Keys that are read where evaluations are compared with each other."""


def remark_unused_settings(config: TrainConfig, on_remark: OnRemark) -> None:
    """Remark on each key that is set and not read, and on what is never reached."""
    _remark_on_warmup(config, on_remark)
    patience, planned = config.early_stopping_patience, _planned_evaluations(config)
    if patience is not None and planned is not None and planned <= patience:
        message = endless_patience(planned, patience)
        on_remark(Remark(WARNING, "early_stopping_patience", message))
    if config.best_of_evaluations or config.lr_scheduler_type in MEASURED:
        return
    fields = type(config).model_fields
    for key in OF_EVALUATIONS:
        if getattr(config, key) != fields[key].default:
            on_remark(_unused(key))


def _planned_evaluations(config: TrainConfig) -> int | None:
    """Return the number of evaluations; None if it depends on the rows."""
    interval, total = config.eval_steps, config.max_steps
    if total:
        return math.ceil(total / updates_of(interval, total))
    return math.ceil(1 / interval) if interval < 1 else None


def _unused(key: str) -> Remark:
    message = text(
        f"{key}: it changes nothing, as no evaluation is compared with another",
        f"{key}：它不起作用，因为没有评估之间的比较",
    )
    hint = text(
        "set early_stopping_patience or load_best_model_at_end: true, or remove it",
        "请设 early_stopping_patience 或 load_best_model_at_end: true，或去掉它",
    )
    return Remark(NOTE, key, message, hint)


def _remark_on_warmup(config: TrainConfig, on_remark: OnRemark) -> None:
    """Remark on a warm-up that lasts as long as the training."""
    total = config.max_steps
    if not total or config.lr_scheduler_type in WITHOUT_WARMUP:
        return
    if config.warmup_steps >= 1 and updates_of(config.warmup_steps, total) >= total:
        on_remark(_long_warmup(config.warmup_steps, total))


def _long_warmup(steps: float, total: int) -> Remark:
    message = text(
        f"warmup_steps: {steps:g} with max_steps: {total}: learning_rate is never reached",
        f"warmup_steps：{steps:g}，而 max_steps 为 {total}：学习率不会达到 learning_rate",
    )
    return Remark(WARNING, "warmup_steps", message, text("lower it", "请减小它"))
