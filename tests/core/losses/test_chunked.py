"""Log-probabilities in chunks: their values, their gradients, and the memory they take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from swiftbox.core.losses import chunked
from swiftbox.core.losses.chunked import log_probs
from swiftbox.core.losses.log_prob_reader import LogProbReader, reader_for


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("trained_head", [False, True])
def test_values_and_gradients_are_those_of_full_logits(
    trained_head: bool, uniform: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "chunk_tokens", lambda *_: 20)  # 70 tokens: a last chunk of 10
    generator = torch.Generator().manual_seed(0)
    double = {"dtype": torch.float64, "generator": generator}
    hidden = torch.randn(70, 16, **double)
    weight = torch.randn(50, 16, **double)
    targets = torch.randint(0, 50, (70,), generator=generator)
    upstream = torch.full((70,), 0.3).double() if uniform else torch.randn(70, **double)
    results = []
    for ours in (True, False):
        h = hidden.clone().requires_grad_()
        w = weight.clone().requires_grad_(trained_head)
        if ours:
            values = log_probs(h, w, targets, uniform=uniform)
        else:
            values = (h @ w.T).log_softmax(1).gather(1, targets[:, None])[:, 0]
        (values * upstream).sum().backward()
        results.append([values.detach(), h.grad, w.grad])
    for value, expected in zip(*results, strict=True):
        assert (value is None) == (expected is None)
        assert value is None or torch.allclose(value, expected, atol=1e-12)


def test_huge_logits_stay_finite() -> None:
    hidden = torch.full((3, 4), 1e4).requires_grad_()
    values = log_probs(hidden, torch.eye(8, 4) * 1e3, torch.tensor([0, 3, 7]))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(hidden.grad).all()


def test_half_precision_is_as_accurate_as_its_products() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 64, generator=generator) / 4 for n in (33, 200))
    targets = torch.randint(0, 200, (33,), generator=generator)
    exact = log_probs(hidden, weight, targets)
    near = log_probs(hidden.bfloat16(), weight.bfloat16(), targets)
    assert near.dtype == torch.float32
    # bfloat16 rounds inputs and logits (up to 8) to 2**-8 of their values.
    assert torch.allclose(exact, near, atol=0.05)


def test_a_head_that_is_not_a_plain_product_is_called_itself(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

    assert reader_for(AutoModelForCausalLM.from_pretrained(tiny)) == LogProbReader(linear_head=True)
    capped = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            final_logit_softcapping=0.5,
            initializer_range=1.0,
        )
    )
    assert reader_for(capped) == LogProbReader(linear_head=False)


MEASURED = """
import json, resource, sys, torch
from swiftbox.core.losses.chunked import log_probs
kind, rows, tokens, vocabulary, hidden = sys.argv[1], *map(int, sys.argv[2:])
torch.manual_seed(0)
weight = torch.nn.Parameter(torch.randn(vocabulary, hidden) * 0.02, requires_grad=False)
states = torch.randn(rows * tokens, hidden, requires_grad=True)
targets = torch.randint(0, vocabulary, (rows * tokens,))
def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
before = peak()
if kind == "ours":
    loss = -log_probs(states, weight, targets, uniform=True).sum()
else:
    loss = torch.nn.functional.cross_entropy(states @ weight.T, targets, reduction="sum")
loss.backward()
print(json.dumps({"grown": peak() - before, "loss": loss.item()}))
"""


@pytest.mark.slow
def test_a_large_vocabulary_takes_a_fraction_of_the_memory_of_full_logits() -> None:
    """2,000 tokens of a vocabulary of 151,936; scripts/bench loss measures 8,000."""
    results = {}
    for kind in ("ours", "full"):
        child = subprocess.run(
            [sys.executable, "-c", MEASURED, kind, "2", "1000", "151936", "64"],
            capture_output=True,
            text=True,
            check=True,
        )
        results[kind] = json.loads(child.stdout)
    assert results["ours"]["loss"] == pytest.approx(
        results["full"]["loss"],
        rel=1e-4,  # sums of 2,000 float32 terms in another order
    )
    assert results["ours"]["grown"] <= 0.3 * results["full"]["grown"]


def autocast_gradients(
    trained_head: bool, uniform: bool, *, chunked_head: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return the loss of float32 states under bfloat16 autocast, and its gradients."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(70, 64, generator=generator).requires_grad_()
    weight = torch.randn(50, 64, generator=generator) / 8
    weight.requires_grad_(trained_head)
    targets = torch.randint(0, 50, (70,), generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        if chunked_head:
            loss = -log_probs(hidden, weight, targets, uniform=uniform).sum() / 70
        else:
            logits = torch.nn.functional.linear(hidden, weight)
            loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    return loss.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("trained_head", [False, True])
def test_under_autocast_the_loss_is_that_of_plain_autocast(
    trained_head: bool, uniform: bool
) -> None:
    ours = autocast_gradients(trained_head, uniform, chunked_head=True)
    plain = autocast_gradients(trained_head, uniform, chunked_head=False)
    # The same bfloat16 products; float32 sums of 50 terms may differ in their order.
    assert torch.allclose(ours[0], plain[0], rtol=1e-6, atol=0)
    for gradient, expected in zip(ours[1:], plain[1:], strict=True):
        assert (gradient is None) == (expected is None)
        if gradient is not None:
            assert gradient.dtype == torch.float32
            # bfloat16 rounds the gradient of the logits to 2**-9 before, or after, it is scaled.
            assert (gradient - expected).abs().max() <= 2**-7 * expected.abs().max()


def test_under_autocast_the_products_of_the_head_are_in_its_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types = []
    plain = chunked._chunk

    def record(hidden: torch.Tensor, head: torch.Tensor, *others: Any) -> object:
        probabilities, values = plain(hidden, head, *others)
        types.append((hidden.dtype, head.dtype, probabilities.dtype, values.dtype))
        return probabilities, values

    monkeypatch.setattr(chunked, "_chunk", record)
    for trained_head in (False, True):  # a head without gradient in the forward pass; recomputed
        autocast_gradients(trained_head, uniform=False, chunked_head=True)
    assert set(types) == {(torch.bfloat16, torch.bfloat16, torch.float32, torch.float32)}
    types.clear()
    double = torch.ones(2, 4, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        log_probs(double, double, torch.tensor([0, 1]))
    assert types == [(torch.float64,) * 4]
