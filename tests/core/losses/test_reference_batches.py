"""The reference policy is scored in batches that fit the memory, with weights that need not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.samples import IGNORED, PreferencePair, TokenRow
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.reference_cache import (
    PairScorer,
    ReferenceCache,
    pair_scores,
    precompute,
)
from swiftbox.core.losses.token_budget import FIRST, MOST, TokenBudget
from swiftbox.core.training.streamed_layers import decoder_layers, streamed_layers
from swiftbox.errors import MemoryLimitError

CPU = torch.device("cpu")

Score = Callable[[Sequence[PreferencePair]], torch.Tensor]


def pair(length: int, seed: int) -> PreferencePair:
    chooser = np.random.default_rng(seed)

    def row() -> TokenRow:
        ids = chooser.integers(9, 500, length).astype(np.int32)
        return TokenRow(ids, np.where(np.arange(length) < 3, IGNORED, ids).astype(np.int32))

    return PreferencePair(row(), row())


PAIRS = [pair(length, seed) for seed, length in enumerate((5, 9, 6, 12, 7, 8, 11))]


def scorer_of(model: Any) -> Score:
    return pair_scores(model, LogProbReader(linear_head=True), PADDED, torch.float32, CPU)


def limited(score: Score, most_pairs: int, sizes: list[int]) -> Score:
    """Score at most so many pairs at a time; more are out of memory."""

    def attempt(pairs: Sequence[PreferencePair]) -> torch.Tensor:
        sizes.append(len(pairs))
        if len(pairs) > most_pairs:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return score(pairs)

    return attempt


def references(score: Score, folder: Path) -> np.ndarray:
    pairs = precompute(PAIRS, PairScorer(score), ReferenceCache(folder))
    return np.array([pair.reference for pair in pairs])


def test_a_batch_that_does_not_fit_is_halved_and_so_are_all_later_ones(
    tmp_path: Path, tiny: Path
) -> None:
    score = scorer_of(AutoModelForCausalLM.from_pretrained(tiny).eval())
    expected = references(score, tmp_path / "all")
    sizes: list[int] = []
    halved = references(limited(score, 2, sizes), tmp_path / "halved")
    np.testing.assert_allclose(halved, expected, rtol=1e-5)  # float32, other batches
    assert sizes[0] == len(PAIRS)
    first_that_fits = next(number for number, size in enumerate(sizes) if size <= 2)
    assert max(sizes[first_that_fits:]) <= 2


def test_a_single_pair_that_does_not_fit_is_an_error_with_its_length(tmp_path: Path) -> None:
    score = limited(lambda pairs: torch.zeros(2 * len(pairs)), 0, [])
    with pytest.raises(MemoryLimitError, match="a pair of 10 tokens"):
        references(score, tmp_path)


def test_the_budget_follows_the_memory_that_a_token_needs() -> None:
    budget = TokenBudget(CPU)
    budget._most, budget.tokens = MOST, FIRST
    budget.learn(tokens=8192, grown_bytes=8192 * 10_000, free=10**9)
    assert budget.tokens == 60_000  # 0.6 of what is free, at 10,000 bytes per token
    budget.learn(tokens=8192, grown_bytes=8192 * 1_000, free=10**9)
    assert budget.tokens == MOST
    budget.halve(10_000)
    budget.learn(tokens=5_000, grown_bytes=1, free=10**9)
    assert budget.tokens == 5_000


@pytest.mark.parametrize("adapts", [False, True])
def test_streamed_weights_leave_main_memory_one_layer_at_a_time(tiny: Path, adapts: bool) -> None:
    network = AutoModelForCausalLM.from_pretrained(tiny).eval()
    if adapts:
        network = get_peft_model(network, LoraConfig(target_modules=["q_proj"]))
    layers = decoder_layers(network)
    before = list(network.named_parameters()) + list(network.named_buffers())
    elsewhere: list[int] = []

    def record(*_: Any) -> None:
        elsewhere.append(sum(all(map(is_meta, layer.parameters())) for layer in layers))

    for layer in layers:
        layer.self_attn.register_forward_hook(record)
    meta = torch.device("meta")
    with streamed_layers(network, meta), torch.no_grad():
        assert is_meta(network(input_ids=torch.ones(1, 4, dtype=torch.long, device=meta)).logits)
        assert not any(is_meta(weight) for layer in layers for weight in layer.parameters())
    assert elsewhere == [1] * len(layers)
    after = list(network.named_parameters()) + list(network.named_buffers())
    assert all(first[1] is second[1] for first, second in zip(before, after, strict=True))


def is_meta(tensor: torch.Tensor) -> bool:
    return bool(tensor.is_meta)
