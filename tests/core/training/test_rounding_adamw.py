"""AdamW on bfloat16 weights follows float32, where rounding to the nearest stands still."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftbox.core.training import rounding_adamw
from swiftbox.core.training.rounding_adamw import (
    RoundingAdamW,
    RoundingOptions,
    round_stochastically,
)

COUNT = 16_384


def optimizer_of(weight: torch.Tensor, *, states_8_bit: bool = False, **keys: Any) -> RoundingAdamW:
    options = RoundingOptions(seed=1, states_8_bit=states_8_bit)
    return RoundingAdamW([{"params": [weight], **keys}], options, lr=1e-4)


def descend(weight: torch.Tensor, optimizer: torch.optim.Optimizer, updates: int) -> torch.Tensor:
    """Minimize the sum of the weights: each update of AdamW lowers every weight by lr."""
    for _ in range(updates):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return weight


@pytest.mark.parametrize("states_8_bit", [False, True])
def test_updates_too_small_for_bfloat16_add_up_as_in_float32(states_8_bit: bool) -> None:
    weight = torch.ones(COUNT, dtype=torch.bfloat16)
    descend(weight, optimizer_of(weight, states_8_bit=states_8_bit), 100)
    nearest = torch.ones(COUNT, dtype=torch.bfloat16)
    descend(nearest, torch.optim.AdamW([nearest], lr=1e-4, weight_decay=0.0), 100)
    assert (nearest == 1).all()  # bfloat16 has no number between 1 - 2**-9 and 1
    # An update is rounded by at most 2**-8, with variance below 2**-18: the mean of 16,384 weights
    # after 100 updates has a standard deviation below 10 * 2**-9 / 128 = 1.6e-4; six of them.
    assert abs(float(weight.float().mean()) - 0.99) < 1e-3


def test_weights_that_float32_holds_are_updated_as_by_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, plain = (torch.linspace(-1, 1, COUNT) for _ in range(2))
    optimizer = optimizer_of(ours, weight_decay=0.1)
    reference = torch.optim.AdamW([plain], lr=1e-4, weight_decay=0.1)
    for _ in range(3):
        ours.grad = plain.grad = torch.randn(COUNT, generator=generator)
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, plain, rtol=1e-6, atol=1e-9)  # float32 sums in another order


def test_moments_of_8_bits_follow_those_of_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.zeros(COUNT) for _ in range(2)]
    optimizers = [
        optimizer_of(weight, states_8_bit=bits)
        for weight, bits in zip(weights, (False, True), strict=True)
    ]
    for _ in range(20):
        gradient = torch.randn(COUNT, generator=generator) + 1
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = gradient
            optimizer.step()
    state = optimizers[1].state[weights[1]]
    assert {state["mean"].dtype, state["square"].dtype} == {torch.uint8}
    # The dynamic map keeps about two digits of a number (arXiv:2110.02861, section 2).
    assert (weights[0] - weights[1]).norm() < 0.1 * weights[0].norm()


def test_rounding_is_exact_in_expectation_and_leaves_bfloat16_numbers_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    value = 1 + 2**-9 + 2**-11  # 5/8 of the way from 1 to 1 + 2**-7, in steps of 2**-7
    values = torch.full((40_000,), value)
    round_stochastically(values, generator)
    assert set(values.tolist()) == {1.0, 1 + 2**-7}
    share = (value - 1) / 2**-7
    # A share of 40,000 has a standard deviation of at most 0.0025; six of them.
    assert abs(float((values > 1).float().mean()) - share) < 0.015
    exact = torch.tensor([1.0, -3.5, 0.0, float("inf"), -float("inf"), 2.0**-130])
    rounded = exact.clone()
    round_stochastically(rounded, generator)
    assert torch.equal(rounded, exact)
    undefined = torch.tensor([float("nan")])
    round_stochastically(undefined, generator)
    assert undefined.isnan().all()


@pytest.mark.parametrize("states_8_bit", [False, True])
def test_a_resumed_optimizer_repeats_the_same_bits(states_8_bit: bool) -> None:
    def fresh() -> tuple[torch.Tensor, RoundingAdamW]:
        weight = torch.linspace(-1, 1, COUNT).bfloat16()
        return weight, optimizer_of(weight, states_8_bit=states_8_bit)

    straight, optimizer = fresh()
    descend(straight, optimizer, 6)
    first, optimizer = fresh()
    descend(first, optimizer, 3)
    second, resumed = fresh()
    second.copy_(first)
    resumed.load_state_dict(optimizer.state_dict())
    moments = {name: tensor.dtype for name, tensor in resumed.state[second].items()}
    assert torch.bfloat16 not in moments.values()
    assert torch.equal(descend(second, resumed, 3), straight)


def test_pieces_change_nothing_but_the_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def updated(piece: int) -> torch.Tensor:
        monkeypatch.setattr(rounding_adamw, "PIECE", piece)
        weight = torch.linspace(-1, 1, COUNT)
        return descend(weight, optimizer_of(weight, states_8_bit=True), 3)

    assert torch.equal(updated(COUNT), updated(1024))


def test_all_weights_and_all_updates_get_other_random_bits() -> None:
    weights = [torch.ones(COUNT, dtype=torch.bfloat16) for _ in range(2)]
    optimizer = RoundingAdamW([{"params": weights}], RoundingOptions(seed=1), lr=1e-3)
    patterns = []
    for _ in range(2):
        for weight in weights:
            weight.fill_(1)
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        patterns += [weight.clone() for weight in weights]
    for number, pattern in enumerate(patterns):
        assert not any(torch.equal(pattern, other) for other in patterns[:number])
