"""Generalized Jensen-Shannon divergence of a student from its teacher (arXiv:2306.13649, eq. 1).

Shapes: M tokens, C tokens of a chunk, H hidden size, V vocabulary. The logits of both models are
computed for a chunk of tokens at a time, (C, V), and used at once for the value and the gradient,
so the logits of a batch never exist together. The result is a weighted sum whose weights are known
beforehand; therefore the gradient is computed in the forward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.core.losses.chunked import at_least_float32, chunk_tokens, product_dtype

LOGITS_AT_ONCE = 4
"""Tensors of a chunk's size that exist together: of both models, their mixture, the slope."""


@dataclass(frozen=True)
class HeadInputs:
    """The logits of tokens before they are computed: hidden states and the head, or the result."""

    values: torch.Tensor
    """Hidden states (M, H); logits (M, V) where there is no head."""
    head: torch.Tensor | None
    """The weight of a plain linear head.  # (V, H)"""

    @property
    def vocabulary(self) -> int:
        """Return the number of logits of a token."""
        return int(self.values.shape[1] if self.head is None else self.head.shape[0])


@dataclass(frozen=True)
class DivergenceSettings:
    """Which divergence is measured, and how sharp the distributions are."""

    beta: float
    """0: KL(teacher, student). 1: KL(student, teacher). Between: the mean of the divergences from
    a mixture that has the teacher with this weight."""
    temperature: float = 1.0
    """Divides the logits of both models."""


def divergence_sum(
    student: HeadInputs,
    teacher: HeadInputs,
    settings: DivergenceSettings,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the divergence in nats, summed over tokens that are multiplied by weights.  # ()

    Gradients reach the student's values and head. Columns that only one of both models has are
    left out: they stand for no token.
    """
    total: torch.Tensor = _DivergenceSum.apply(
        student.values, student.head, teacher, (settings, weights)
    )
    return total


class _DivergenceSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        head: torch.Tensor | None,
        teacher: HeadInputs,
        options: tuple[DivergenceSettings, torch.Tensor | None],
    ) -> torch.Tensor:
        settings, weights = options
        with_values, with_head = ctx.needs_input_grad[:2]
        ctx.dtypes = (values.dtype, None if head is None else head.dtype)
        student = _in_product_dtype(HeadInputs(values, head))
        teacher = _in_product_dtype(teacher)
        columns = min(student.vocabulary, teacher.vocabulary)
        precision = at_least_float32(student.values.dtype)
        total = torch.zeros((), dtype=precision, device=values.device)
        slopes = torch.zeros_like(student.values) if with_values else None  # (M, H) or (M, V)
        head_slopes = torch.zeros_like(head, dtype=precision) if with_head else None  # (V, H)
        step = max(16, chunk_tokens(columns, values.device.type) // LOGITS_AT_ONCE)
        with torch.autocast(values.device.type, enabled=False):
            for start in range(0, len(values), step):
                part = slice(start, start + step)
                divergences, slope = token_divergences(
                    _logits(student, part, columns), _logits(teacher, part, columns), settings
                )  # (C,), (C, V)
                if weights is not None:
                    divergences = divergences * weights[part]
                    slope = slope * weights[part, None]
                total += divergences.sum()
                slope = slope.to(student.values.dtype)
                if slopes is not None:
                    _add_slopes(slopes, slope, student, part)
                if head_slopes is not None:
                    head_slopes[:columns] += slope.T @ student.values[part]
        ctx.save_for_backward(slopes, head_slopes)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scale = gradients[0]  # ()
        slopes, head_slopes = ctx.saved_tensors
        dtype, head_dtype = ctx.dtypes
        if slopes is not None:
            slopes = (slopes * scale).to(dtype)
        if head_slopes is not None:
            head_slopes = (head_slopes * scale).to(head_dtype)
        return slopes, head_slopes, None, None


def token_divergences(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, settings: DivergenceSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the divergence of each token, and its gradient by the student's logits.

    Both logits are (C, V), in float32 or better; the results are (C,) and (C, V).
    """
    beta, temperature = settings.beta, settings.temperature
    student = torch.log_softmax(student_logits / temperature, dim=1)
    teacher = torch.log_softmax(teacher_logits / temperature, dim=1)
    probabilities = student.exp()
    if beta == 0:
        targets = teacher.exp()
        values = (targets * (teacher - student)).sum(dim=1)
        return values, (probabilities - targets) / temperature
    if beta == 1:
        difference = student - teacher
        values = (probabilities * difference).sum(dim=1)
        return values, probabilities * (difference - values[:, None]) / temperature
    mixture = torch.logaddexp(student + math.log1p(-beta), teacher + math.log(beta))
    of_teacher = (teacher.exp() * (teacher - mixture)).sum(dim=1)
    difference = student - mixture
    of_student = (probabilities * difference).sum(dim=1)
    slope = probabilities * (difference - of_student[:, None]) * ((1 - beta) / temperature)
    return beta * of_teacher + (1 - beta) * of_student, slope


def _in_product_dtype(inputs: HeadInputs) -> HeadInputs:
    """Return values and head in the type of their product; logits stay as they are."""
    if inputs.head is None:
        return inputs
    values = inputs.values.to(product_dtype(inputs.values))
    return HeadInputs(values, inputs.head.to(values.dtype))


def _logits(inputs: HeadInputs, part: slice, columns: int) -> torch.Tensor:
    """Return the logits of a chunk for the columns that both models have.  # (C, V)"""
    values = inputs.values[part]
    logits = values[:, :columns] if inputs.head is None else values @ inputs.head[:columns].T
    return logits.to(at_least_float32(logits.dtype))


def _add_slopes(
    slopes: torch.Tensor, slope: torch.Tensor, student: HeadInputs, part: slice
) -> None:
    """Write the gradient by the student's hidden states, or by its logits."""
    columns = slope.shape[1]
    if student.head is None:
        slopes[part, :columns] = slope
    else:
        slopes[part] = slope @ student.head[:columns]
