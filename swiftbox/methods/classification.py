"""Classifiers and regressions: a head on the model predicts labels or a number. Shapes: S rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from swiftbox.config.classification import (
    MULTI,
    REGRESSION,
    SINGLE,
    ClassificationFields,
    Problem,
)
from swiftbox.config.fields import setting
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods.method import Method
from swiftbox.methods.pairs import count

METRICS: Mapping[Problem, tuple[str, ...]] = MappingProxyType(
    {
        SINGLE: ("accuracy", "macro_f1"),
        MULTI: ("accuracy", "macro_f1", "micro_f1"),
        REGRESSION: ("mse", "mae", "pearson"),
    }
)
"""What is measured on held-out rows."""


class ClassificationConfig(ClassificationFields, TrainConfig):
    """Options of `stage: classification`."""

    stage: Literal["classification"] = setting(
        "classification",
        label_zh="训练阶段",
        en="classification: learn to predict labels or a number",
        zh="classification：学习预测标签或数值",
        section="method",
        essential=True,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize texts as they are, and conversations as the chat template writes them."""
    from swiftbox.core.data.classified import encode_classified

    return encode_classified(examples, tokenizer, config)


def collate(
    units: Sequence[Any], layout: str, classes: Any, padding: int | None = None
) -> dict[str, Any]:
    """Collate rows with their targets, by the order of the model's outputs."""
    from swiftbox.core.losses.classification import classified_batch

    rows = [row for unit in units for row in unit]
    return classified_batch(rows, classes, layout, padding)


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the rows; outputs as well where no gradient is needed."""
    import torch

    from swiftbox.core.losses.classification import class_logits, class_losses, correct_rows

    problem, target = context.config.problem, batch["target"]
    logits = class_logits(model, batch)  # (S, C)
    losses = class_losses(logits, target, problem)  # (S,)
    if not torch.is_grad_enabled():
        return LossTerms(losses.sum(), len(target), outputs=(logits, target))
    if problem == REGRESSION:
        return LossTerms(losses.sum(), len(target))
    correct = correct_rows(logits.detach(), target, problem).sum()
    return LossTerms(losses.sum(), len(target), {"accuracy": correct})


def measure(logits: Any, target: Any, config: Any) -> dict[str, float]:
    """Return the metrics of all held-out rows from the model's outputs."""
    from swiftbox.core.losses import classification

    return classification.measure(logits, target, config.problem)


def metrics_of(config: Any) -> tuple[str, ...]:
    """Return the metrics that the problem of a config has."""
    return METRICS[config.problem]


CLASSIFICATION = Method(
    "classification",
    ClassificationConfig,
    False,
    encode,
    collate,
    loss,
    count,
    head="score",
    metrics_of=metrics_of,
    measure=measure,
    learning_rates=(1.0e-4, 1.0e-5),
)
