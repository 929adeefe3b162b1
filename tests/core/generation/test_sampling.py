"""Tokens are sampled from the distribution that the settings leave."""

from __future__ import annotations

import pytest
import torch

from swiftbox.core.generation.batch_sampler import BatchSampler, sample_tokens
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


def test_a_nucleus_larger_than_the_candidates_is_drawn_from_the_whole_vocabulary() -> None:
    logits = torch.zeros(1, 2000)
    logits[0, :400] = 1.0  # e times the mass of the others: 40 % of all
    sampler = TokenSampler(Sampling(max_tokens=1, seed=2, top_p=0.6), [], 0)
    batch, drawn = BatchSampler([sampler], logits.device), []
    for _ in range(300):
        drawn.append(batch.sample(logits).read()[0].token)
    assert batch.stale
    assert not batch.resolves
    # 60 % are the 400 first and a part of the others; a third of the draws are among these.
    assert 60 < sum(token >= 400 for token in drawn) < 140
    assert len(set(drawn)) > 150


def test_a_neighbour_changes_no_token() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(4, 3000)
    settings = [
        {"temperature": 1.5},
        {"top_p": 0.9},
        {"top_k": 1000, "min_p": 0.001},
        {"temperature": 0.0, "presence_penalty": 1.0},
    ]

    def samplers() -> list[TokenSampler]:
        return [
            TokenSampler(Sampling(max_tokens=9, seed=5, **each), [1, 2], row)  # type: ignore[arg-type]
            for row, each in enumerate(settings)
        ]

    def sampled(chosen: list[TokenSampler], rows: list[int]) -> list[int]:
        batch = BatchSampler(chosen, logits.device)
        steps = [batch.sample(logits[rows]).read() for _ in range(40)]
        return [entry.token for step in steps for entry in step]

    together = sampled(samplers(), [0, 1, 2, 3])
    alone = [sampled([samplers()[row]], [row]) for row in range(4)]
    assert [together[row::4] for row in range(4)] == alone


def test_a_repeated_step_draws_the_same_token() -> None:
    sampler = TokenSampler(Sampling(max_tokens=9, seed=1), [], 0)
    first = sample_tokens(LOGITS, [sampler])
    assert sample_tokens(LOGITS, [sampler]) == first
    sampler.record(first[0].token)
    numbers = [sampler.number(position) for position in range(3)]
    assert len(set(numbers)) == 3
