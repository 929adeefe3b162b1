"""Tokens are sampled from the distribution that the settings leave."""

from __future__ import annotations

import pytest
import torch

from swiftbox.core.generation.batch_sampler import sample_tokens
from swiftbox.core.generation.sampling import Sampling, TokenSampler

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05] + [1e-9] * 596]))


def tokens(count: int, **settings: float) -> list[int]:
    """Sample a number of tokens from LOGITS with seed 1."""
    sampler = TokenSampler(Sampling(max_tokens=1, seed=1, **settings), [], 0)  # type: ignore[arg-type]
    drawn = []
    for _ in range(count):
        drawn.append(sample_tokens(LOGITS, [sampler])[0].token)
        sampler.record(drawn[-1])
    return drawn


def test_sampling_follows_the_distribution() -> None:
    counts = torch.bincount(torch.tensor(tokens(4000)), minlength=4)
    # Three standard deviations of a share of 0.5 among 4,000 are 0.024.
    assert (counts[:4] / 4000).tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


def test_top_p_top_k_and_min_p_drop_the_unlikely_tokens() -> None:
    assert set(tokens(200, top_p=0.7)) == {0, 1}
    assert set(tokens(400, top_k=3)) == {0, 1, 2}
    assert set(tokens(400, min_p=0.2)) == {0, 1, 2}
