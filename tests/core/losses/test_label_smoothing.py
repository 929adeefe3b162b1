"""Label smoothing equals torch's and transformers' in value and gradient, in every layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LabelSmoother

from swiftbox.core.attention.varlen import with_masks
from swiftbox.core.data.batches import LINES, PADDED
from swiftbox.core.data.samples import IGNORED, TokenRow
from swiftbox.core.losses import chunked
from swiftbox.core.losses.chunked import log_probs
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.terms import LossContext
from swiftbox.methods.pt import collate, loss

SHARE = 0.1


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("trained_head", [False, True])
def test_chunks_equal_the_loss_of_torch(
    trained_head: bool, uniform: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "chunk_tokens", lambda *_: 20)  # 70 tokens: a last chunk of 10
    generator = torch.Generator().manual_seed(0)
    double = {"dtype": torch.float64, "generator": generator}
    hidden, weight = torch.randn(70, 16, **double), torch.randn(50, 16, **double)
    targets = torch.randint(0, 50, (70,), generator=generator)
    results = []
    for ours in (True, False):
        h = hidden.clone().requires_grad_()
        w = weight.clone().requires_grad_(trained_head)
        if ours:
            total = -log_probs(h, w, targets, uniform=uniform, smoothing=SHARE).sum()
        else:
            entropy = torch.nn.CrossEntropyLoss(label_smoothing=SHARE, reduction="sum")
            total = entropy(h @ w.T, targets)
        total.backward()
        results.append([total.detach(), h.grad, w.grad])
    for value, expected in zip(*results, strict=True):
        assert (value is None) == (expected is None)
        assert value is None or torch.allclose(value, expected, atol=1e-12)


def rows() -> list[TokenRow]:
    """Return three rows of different lengths, whose first tokens are not learned."""
    generator = np.random.default_rng(0)
    row_list = []
    for length, prompt in ((12, 5), (7, 2), (17, 9)):
        ids = generator.integers(5, 90, length).astype(np.int32)
        labels = np.where(np.arange(length) < prompt, IGNORED, ids).astype(np.int32)
        row_list.append(TokenRow(ids, labels))
    return row_list


@pytest.mark.parametrize("linear_head", [True, False])
@pytest.mark.parametrize("layout", [PADDED, LINES])
def test_every_layout_equals_the_smoother_of_transformers(
    layout: str, linear_head: bool, tiny: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64).eval()
    reader = LogProbReader(linear_head=linear_head, smoothing=SHARE)
    context = LossContext(SimpleNamespace(), reader)
    with with_masks(model):
        terms = loss(model, collate([[row] for row in rows()], layout), context)
        (terms.total / terms.count).backward()
        gradient = model.get_input_embeddings().weight.grad.clone()
        model.zero_grad()
        batch = collate([[row] for row in rows()], PADDED)
        labels, mask = batch["labels"], batch["attention_mask"]
        output = model(input_ids=batch["input_ids"], attention_mask=mask)
        expected = LabelSmoother(epsilon=SHARE)(output, labels, shift_labels=True)
        expected.backward()
    # LabelSmoother sums over the vocabulary in float32, which rounds to 6e-8.
    assert (terms.total / terms.count).item() == pytest.approx(expected.item(), rel=1e-6)
    difference = (gradient - model.get_input_embeddings().weight.grad).norm()
    assert difference <= 1e-5 * gradient.norm()
