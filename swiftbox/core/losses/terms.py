"""The result of a method's loss, and the context it is computed in; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LossTerms:
    """A loss as the sum of its terms, their number, and sums of metrics.

    The trainer divides by the number of terms of the entire update, so gradients do not depend on
    how rows are distributed over batches and devices.
    """

    total: Any
    count: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Sums over the terms, logged as means. If only some terms have a value for `name`, the metric
    `name#` counts them."""
    outputs: tuple[Any, Any] | None = None
    """Of held-out rows, what the model gives and what it should: for metrics that are no means."""


@dataclass(frozen=True)
class LossContext:
    """What a loss needs besides the model and the batch."""

    config: Any
    reader: Any = None
    """A core.losses.log_prob_reader.LogProbReader; None for a reward model."""
    reference: Any = None
    """A core.losses.reference_policy.ReferencePolicy; None if the method has none."""
    teacher: Any = None
    """A core.losses.teacher.Teacher; None if the method has none."""
