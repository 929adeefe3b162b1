"""What the loss of a distillation sums: which tokens, with which weights, on whose answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.samples import IGNORED, GeneratedAnswer, TokenRow
from swiftbox.core.losses.divergence import DivergenceSettings, HeadInputs, divergence_sum
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods.gkd import GKD

VOCABULARY = 7


class FixedLogits:
    """A model whose logits at each index of a batch are fixed, and the reader of it."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(32, VOCABULARY, dtype=torch.float64, generator=generator)

    def head_inputs(self, *arguments: Any) -> HeadInputs:
        return HeadInputs(self.logits[arguments[-1]], None)

    def log_probs_of(self, *arguments: Any, **options: Any) -> torch.Tensor:
        return LogProbReader(linear_head=False).log_probs_of(*arguments, **options)


STUDENT, TEACHER = FixedLogits(1), FixedLogits(2)


def loss_of(sample: Any, sft_alpha: float = 0.0) -> LossTerms:
    config = SimpleNamespace(beta=0.5, temperature=2.0, sft_alpha=sft_alpha)
    context = LossContext(config, STUDENT, teacher=TEACHER)
    return GKD.loss(None, GKD.collate([[sample]], PADDED), context)


def row(*weights: float) -> TokenRow:
    """A prompt of two tokens and an answer of three, which may have weights."""
    ids, labels = np.arange(1, 6), np.array([IGNORED, IGNORED, 3, 4, 5])
    weighted = np.array([1, 1, *weights], np.float32) if weights else None
    return TokenRow(ids.astype(np.int32), labels.astype(np.int32), weighted)


def divergences() -> torch.Tensor:
    """The divergence of each learned token: those that the indices 1, 2 and 3 predict.  # (3,)"""
    settings = DivergenceSettings(0.5, 2.0)
    parts = [(STUDENT.logits[at : at + 1], TEACHER.logits[at : at + 1]) for at in (1, 2, 3)]
    totals = [divergence_sum(HeadInputs(s, None), HeadInputs(t, None), settings) for s, t in parts]
    return torch.stack(totals)


def test_weights_of_turns_multiply_the_divergence_of_their_tokens_and_not_their_number() -> None:
    plain, weighted = loss_of(row()), loss_of(row(1.0, 0.5, 3.0))
    weights = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64)
    assert torch.allclose(plain.total, divergences().sum())
    assert torch.allclose(weighted.total, (divergences() * weights).sum())
    assert plain.count == weighted.count == 3


@pytest.mark.parametrize("by_student", [True, False])
def test_the_cross_entropy_is_added_except_on_answers_of_the_student(by_student: bool) -> None:
    added = loss_of(GeneratedAnswer(row(), by_student), sft_alpha=0.5).total - divergences().sum()
    log_probs = STUDENT.logits.log_softmax(1)[[1, 2, 3], [3, 4, 5]]
    expected = torch.zeros(()) if by_student else -0.5 * log_probs.sum()
    assert torch.allclose(added, expected.double())
