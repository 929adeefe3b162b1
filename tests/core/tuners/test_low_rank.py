"""Factors are the best of their rank, and their error is the one that they have."""

from __future__ import annotations

import pytest
import torch

from swiftbox.core.tuners import low_rank
from swiftbox.core.tuners.low_rank import Factors, RankRule, factorize


def decaying(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    """Return a matrix whose singular values fall slowly, as those of trainings do."""
    generator = torch.Generator().manual_seed(seed)
    size = min(outputs, inputs)
    left = torch.linalg.qr(torch.randn(outputs, size, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(inputs, size, generator=generator)).Q
    return (left * (1.0 + torch.arange(size)) ** -0.5) @ right.T


def best_loss(matrix: torch.Tensor, rank: int) -> float:
    """Return the squared error of the best factors (Eckart and Young), in float64."""
    return float((torch.linalg.svdvals(matrix.double())[rank:] ** 2).sum())


def factors_of(*matrices: torch.Tensor, rank: int, energy: float | None = None) -> Factors:
    return factorize(lambda: matrices, RankRule(rank, energy))


def test_a_small_matrix_gets_the_best_factors_of_its_rank() -> None:
    matrix = decaying(40, 60)
    factors = factors_of(matrix, rank=7)
    assert factors.rank == 7
    # Float32 holds 24 bits; the products of 60 numbers lose a few of them.
    assert factors.lost == pytest.approx(best_loss(matrix, 7), rel=1e-5)
    product = factors.outside[0] @ factors.inside[0]
    assert float((matrix - product).double().square().sum()) == pytest.approx(factors.lost)


def test_a_large_matrix_gets_nearly_the_best_factors_without_all_singular_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(low_rank, "EXACT_SIZE", 64)
    matrix = decaying(160, 200)
    factors = factors_of(matrix, rank=8)
    best = best_loss(matrix, 8)
    assert best * (1 - 1e-4) <= factors.lost <= best * 1.002  # twice what a last pass may gain


def test_a_matrix_that_does_not_converge_is_decomposed_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(low_rank, "EXACT_SIZE", 64)
    monkeypatch.setattr(low_rank, "MAX_PASSES", 1)
    matrix = decaying(160, 200)
    assert factors_of(matrix, rank=8).lost == pytest.approx(best_loss(matrix, 8), rel=1e-5)


def test_auto_takes_the_smallest_rank_that_keeps_the_energy() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))  # energy 9, 4, 1, 0.25 of 14.25
    ranks = [factors_of(matrix, rank=4, energy=share).rank for share in (0.5, 0.9, 0.95, 1.0)]
    assert ranks == [1, 2, 3, 4]
    assert factors_of(matrix, rank=2, energy=1.0).rank == 2


def test_experts_share_one_rank_and_keep_their_order() -> None:
    stack = [decaying(12, 8, seed) for seed in (1, 2, 3)]
    factors = factors_of(*stack, rank=8)
    assert factors.outside.shape == (3, 12, 8)
    torch.testing.assert_close(factors.outside @ factors.inside, torch.stack(stack))


def test_no_change_has_factors_of_zeros() -> None:
    factors = factors_of(torch.zeros(6, 5), rank=3, energy=0.9)
    assert (factors.total, factors.lost) == (0.0, 0.0)
