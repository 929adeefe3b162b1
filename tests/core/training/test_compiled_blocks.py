"""Compiled blocks: the same gradients for rows of any length, and plain blocks after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swiftbox.core.losses.cross_entropy import next_token_losses, with_targets
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.training.activation_checkpoints import checkpoint_activations
from swiftbox.core.training.compiled_blocks import (
    MOST_VERSIONS,
    CompiledBlocks,
    blocks_of,
    compile_callbacks,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def gradients(model: Any, length: int) -> list[torch.Tensor]:
    ids = torch.arange(length)[None] + 9
    positions = torch.arange(length)[None] % (length // 2)  # two rows in one line
    batch = {"input_ids": ids, "position_ids": positions, "labels": ids.clone()}
    model.zero_grad()
    next_token_losses(model, with_targets(batch), reader_for(model)).sum().backward()
    return [weight.grad.clone() for weight in model.parameters()]


def recompile_limit() -> int:
    import torch._dynamo.config as compiler

    return int(compiler.recompile_limit)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["false", "true"])
def test_compiled_blocks_have_the_gradients_of_plain_ones(mode: str, tiny: Path) -> None:
    import torch._dynamo as dynamo

    dynamo.reset()
    dynamo.utils.counters.clear()
    model = AutoModelForCausalLM.from_pretrained(tiny).train()
    checkpoint_activations(model, mode)
    callback = CompiledBlocks(blocks_of(model), backend="aot_eager")
    lengths = (24, 40, 16)
    plain = [gradients(model, length) for length in lengths]
    callback.on_train_begin(None, None, None)
    compiled = [gradients(model, length) for length in lengths]
    callback.on_train_end(None, None, None)
    after = gradients(model, 24)
    for expected, actual in zip(plain, compiled, strict=True):
        for gradient, other in zip(expected, actual, strict=True):
            # The same operations, which the compiler may add up in another order.
            assert (gradient - other).abs().max() <= 1e-5 * gradient.abs().max()
    assert all(torch.equal(*pair) for pair in zip(plain[0], after, strict=True))
    graphs = dynamo.utils.counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= 3  # one for all lengths, another without gradients for the probe


def test_blocks_are_compiled_from_the_start_to_the_end_of_training(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    callback = CompiledBlocks(blocks_of(model))

    def compiled() -> set[bool]:
        return {block._compiled_call_impl is not None for block in model.model.layers}

    usual = recompile_limit()
    assert compiled() == {False}
    callback.on_train_begin(None, None, None)
    assert compiled() == {True}
    assert recompile_limit() == MOST_VERSIONS  # torch's 8 are fewer than the kinds of batches
    callback.on_train_end(None, None, None)
    assert compiled() == {False}
    assert recompile_limit() == usual


def test_a_model_without_marked_blocks_is_trained_without_compilation() -> None:
    messages: list[str] = []
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert compile_callbacks(model, lambda _kind, **data: messages.append(data["message"])) == []
    assert "Sequential does not mark its blocks" in messages[0]
