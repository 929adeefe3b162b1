"""The losses of classifiers, as transformers computes them, and what is measured on held-out rows.

Shapes: S rows, C outputs of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from swiftbox.config.classification import MULTI, REGRESSION, SINGLE
from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.samples import ClassifiedRow
from swiftbox.core.losses.chunked import at_least_float32
from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.core.losses.reward_head import last_token_batch, outputs_at

SEGMENTS = "token_type_ids"
NOT_INPUTS = ("indices", "target")
"""Keys of a batch that the model does not take."""

TARGET_TYPES = {SINGLE: torch.long, MULTI: torch.float32, REGRESSION: torch.float32}

Numbers = npt.NDArray[np.float64]


def classified_batch(
    rows: Sequence[ClassifiedRow], classes: Any, layout: str, padding: int | None
) -> dict[str, Any]:
    """Collate rows with their targets: (S,) indices or numbers, or (S, C) of 0 and 1."""
    batch = last_token_batch([row.row for row in rows], layout, padding)
    if layout == PADDED and any(row.second_from for row in rows):
        batch[SEGMENTS] = _segments(rows, batch["input_ids"].shape)
    targets = [classes.numbers(row.target) for row in rows]
    batch["target"] = torch.tensor(targets, dtype=TARGET_TYPES[classes.problem])
    return batch


def _segments(rows: Sequence[ClassifiedRow], shape: Any) -> torch.Tensor:
    """Return 1 for the tokens of second texts.  # (S, T)"""
    segments = torch.zeros(shape, dtype=torch.long)
    for number, row in enumerate(rows):
        if row.second_from:
            segments[number, row.second_from : len(row.row)] = 1
    return segments


def reads_last_token(model: Any) -> bool:
    """Tell whether the head of a model is applied to every token, so that rows can be joined.

    Encoders pool a row in their own way, and attend to both sides.
    """
    return hasattr(unwrapped(model), "score")


def class_logits(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the outputs of the model for each row, in float32 or better.  # (S, C)"""
    inputs = {key: value for key, value in batch.items() if key not in NOT_INPUTS}
    if reads_last_token(model):
        inputs.pop(SEGMENTS, None)
        return outputs_at(model, inputs, batch["indices"])
    padding = unwrapped(model).config.pad_token_id
    if padding is not None and "attention_mask" in inputs:  # some find the last token by it
        outside = inputs["attention_mask"] == 0
        inputs["input_ids"] = inputs["input_ids"].masked_fill(outside, padding)
    logits: torch.Tensor = model(**inputs).logits
    return logits.to(at_least_float32(logits.dtype))


def class_losses(logits: torch.Tensor, target: torch.Tensor, problem: str) -> torch.Tensor:
    """Return the loss of each row.  # (S, C), (S,) or (S, C) -> (S,)"""
    if problem == SINGLE:
        return functional.cross_entropy(logits, target, reduction="none")
    if problem == MULTI:
        target = target.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
    return (logits[:, 0] - target.to(logits.dtype)) ** 2


def correct_rows(logits: torch.Tensor, target: torch.Tensor, problem: str) -> torch.Tensor:
    """Return whether each row is predicted, with all of its labels.  # (S,)"""
    if problem == SINGLE:
        return logits.argmax(-1) == target
    return ((logits > 0) == (target > 0)).all(-1)


def measure(logits: Numbers, target: Numbers, problem: str) -> dict[str, float]:
    """Return the metrics of held-out rows, as scikit-learn defines them.

    Args:
        logits: The outputs of the model.  # (S, C)
        target: Indices or numbers (S,), or 0 and 1 (S, C).
        problem: transformers' problem_type.
    """
    if problem == REGRESSION:
        return _regression(logits[:, 0], target)
    if problem == MULTI:
        predicted, true = logits > 0, target > 0
    else:
        labels = np.arange(logits.shape[1])
        predicted, true = logits.argmax(-1)[:, None] == labels, target[:, None] == labels
    hits = (predicted & true).sum(0)  # (C,)
    sizes = predicted.sum(0) + true.sum(0)  # (C,)
    scores = 2 * hits / np.maximum(sizes, 1)  # (C,)
    if problem == SINGLE:
        scores = scores[sizes > 0]
    metrics = {
        "accuracy": float((predicted == true).all(-1).mean()),
        "macro_f1": float(scores.mean()),
    }
    if problem == MULTI:
        metrics["micro_f1"] = float(2 * hits.sum() / max(1, sizes.sum()))
    return metrics


def _regression(predicted: Numbers, true: Numbers) -> dict[str, float]:
    error = predicted - true
    metrics = {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}
    if predicted.std() > 0 and true.std() > 0:
        metrics["pearson"] = float(np.corrcoef(predicted, true)[0, 1])
    return metrics
