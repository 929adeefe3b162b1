"""LoRA's branch as one operation: its values and gradients, and what autograd keeps for it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from swiftbox.config.train import TrainConfig
from swiftbox.core.tuners.attach import attach
from swiftbox.core.tuners.fused_lora import _LowRank, fuse_adapters
from swiftbox.core.weights.load import load_trainable

pytestmark = pytest.mark.filterwarnings("ignore")


def network(dtype: torch.dtype, **keys: Any) -> Any:
    """Return a linear layer with an adapter that is off its zeros."""
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(24, 40)).to(dtype).requires_grad_(False)
    tuned = get_peft_model(plain, LoraConfig(r=4, lora_alpha=6, target_modules=["0"], **keys))
    torch.nn.init.normal_(tuned.base_model.model[0].lora_B["default"].weight)
    return tuned


def outcome(
    model: Any, inputs: torch.Tensor, dtype: torch.dtype | None = None
) -> list[torch.Tensor]:
    """Return the output, and the gradients of the input and of the adapter."""
    inputs = inputs.clone().requires_grad_()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        output = model(inputs)
    model.zero_grad()
    output.backward(torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output))
    trained = [weight.grad for weight in model.parameters() if weight.requires_grad]
    return [output.detach(), inputs.grad, *trained]


def test_values_and_gradients_are_those_of_peft() -> None:
    plain = network(torch.float64)
    fused = copy.deepcopy(plain)
    assert fuse_adapters(fused) == 1
    inputs = torch.randn(2, 5, 24, dtype=torch.float64)
    for expected, actual in zip(outcome(plain, inputs), outcome(fused, inputs), strict=True):
        assert torch.allclose(expected, actual, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    shapes = ((3, 5), (3, 4), (2, 4), (5, 2))  # the result, x, A and B
    tensors = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(lambda *factors: _LowRank.apply(*factors, 1.5), tensors)


@pytest.mark.parametrize("kind", ["autocast", "no autocast"])
def test_the_error_of_16_bits_does_not_exceed_that_of_peft(kind: str) -> None:
    plain = network(torch.bfloat16)
    exact = copy.deepcopy(plain).double()
    fused = copy.deepcopy(plain)
    fuse_adapters(fused)
    inputs = torch.randn(64, 24).bfloat16()
    dtype = torch.bfloat16 if kind == "autocast" else None
    results = [outcome(exact, inputs.double())]
    results += [outcome(model, inputs, dtype) for model in (plain, fused)]
    for true, of_peft, ours in zip(*results, strict=True):
        assert of_peft.dtype == ours.dtype
        errors = [(value.double() - true).norm() for value in (of_peft, ours)]
        # Both round to bfloat16; the sums of a few hundred roundings differ by chance.
        assert errors[1] <= 1.2 * errors[0] + 1e-12


@pytest.mark.parametrize("keys", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_other_adapters_compute_as_in_peft(keys: dict[str, Any]) -> None:
    plain = network(torch.float32, **keys)
    fused = copy.deepcopy(plain)
    fuse_adapters(fused)
    inputs = torch.randn(7, 24)
    results = []
    for model in (plain, fused):
        torch.manual_seed(1)
        results.append(outcome(model, inputs))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_a_disabled_or_merged_adapter_is_the_base_or_the_sum() -> None:
    model = network(torch.float64)
    fuse_adapters(model)
    inputs = torch.randn(7, 24, dtype=torch.float64)
    with torch.no_grad():
        tuned = model(inputs)
        layer = model.base_model.model[0]
        with model.disable_adapter():
            assert torch.equal(model(inputs), layer.base_layer(inputs))
        model.merge_adapter()
        assert torch.allclose(model(inputs), tuned, atol=1e-12)
        assert type(model.merge_and_unload()[0]) is torch.nn.Linear


@pytest.mark.parametrize("tuner_type", ["lora", "qlora"])
def test_autograd_keeps_the_input_of_layers_once(tuner_type: str, tiny: Path) -> None:
    config = TrainConfig(
        model=str(tiny),
        dataset="d",
        tuner_type=tuner_type,
        dtype="bfloat16",
        attn_implementation="sdpa",
    )

    def saved_bytes(fused: bool) -> int:
        model = attach(load_trainable(tiny, config), config).train()
        assert not fused or fuse_adapters(model) == 14
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        saved: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            model(input_ids=torch.arange(64)[None], use_cache=False).logits.sum().backward()
        return sum(
            tensor.untyped_storage().nbytes()
            for place, tensor in saved.items()
            if place not in weights
        )

    # q, k and v share an input of 64 numbers, gate and up another: 3 x 64 of 2 bytes less, for each
    # of 64 tokens in 2 layers. Where nothing else holds the input, one copy of it remains.
    assert saved_bytes(fused=False) - saved_bytes(fused=True) >= 2 * 64 * 3 * 64 * 2
