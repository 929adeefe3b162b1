"""The rows of a conversation, one for each turn: what they share, how they are stored and split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_models import tiny_model

from swiftbox.core.attention.varlen import use_varlen
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED, SHARED_LINE
from swiftbox.core.data.rows import TurnUnits, fit, hold_out, pack
from swiftbox.core.data.samples import (
    IGNORED,
    SharedPrefix,
    TokenRow,
    TurnRows,
    computed_tokens,
)
from swiftbox.core.data.shared_prompts import tree_mask
from swiftbox.core.data.storage import MemorySamples, StoredSamples, write
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.scoring import rows_batch
from swiftbox.core.losses.terms import LossContext
from swiftbox.methods import METHODS

TOLERANCE = 1e-5
"""Models are float64; RMSNorm rounds to float32, by 6e-8, which losses amplify to 1e-6."""


def row(ids: list[int], learned: int, weight: float | None = None) -> TokenRow:
    """Return a row whose last `learned` tokens are learned."""
    tokens = np.array(ids, np.int32)
    is_learned = np.arange(len(ids)) >= len(ids) - learned
    weights = None
    if weight is not None:
        weights = np.where(is_learned, weight, 1.0).astype(np.float32)
    return TokenRow(tokens, np.where(is_learned, tokens, IGNORED).astype(np.int32), weights)


def conversation(turns: int = 3, seed: int = 0, weight: float | None = None) -> TurnRows:
    """Make the rows of a template that drops the reasoning of earlier turns, as Qwen3's does."""
    numbers = np.random.default_rng(seed)
    history: list[int] = []
    rows = []
    for _ in range(turns):
        question, thought, answer = (numbers.integers(3, 60, size).tolist() for size in (7, 6, 5))
        prompt = [*history, 1, *question, 2]
        rows.append(row([*prompt, *thought, *answer, 0], 12, weight))
        history = [*prompt, *answer, 0]
    return TurnRows(tuple(rows))


def growing(turns: int = 3) -> TurnRows:
    """Make the rows of a template that only appends."""
    ids = list(range(3, 3 + 10 * turns))
    return TurnRows(tuple(row(ids[: 10 * (number + 1)], 4) for number in range(turns)))


def model_for(layout: str, kind: str = "qwen3", **settings: Any) -> Any:
    model = tiny_model(kind, **settings)
    if layout in (ONE_LINE, SHARED_LINE):
        assert use_varlen(model, torch.float32, torch.device("cpu")) == ""
    return model


def loss_and_gradient(
    units: list[list[Any]], layout: str, **settings: Any
) -> tuple[torch.Tensor, torch.Tensor, int]:
    model = model_for(layout, **settings)
    sft = METHODS["sft"]
    assert sft.collate is not None
    assert sft.loss is not None
    batch = sft.collate(units, layout)
    terms = sft.loss(model, batch, LossContext(None, reader_for(model)))
    loss = terms.total / terms.count
    loss.backward()
    gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return loss.detach(), torch.cat(gradients), batch["input_ids"].numel()


def test_a_template_that_only_appends_gives_a_chain_that_costs_one_pass() -> None:
    rows = growing(4)
    assert rows.prefixes == (SharedPrefix(0, 10), SharedPrefix(1, 20), SharedPrefix(2, 30))
    assert computed_tokens(rows, shares=True) == len(rows) == 40
    assert computed_tokens(rows, shares=False) == 100


def test_a_template_that_rewrites_turns_gives_a_trunk_with_branches() -> None:
    rows = conversation(4)
    earlier = sum(len(turn) - 12 for turn in rows.rows[-1:])
    thoughts = sum(12 for _ in rows.rows)
    assert computed_tokens(rows, shares=True) == earlier + thoughts
    assert all(prefix.tokens for prefix in rows.prefixes)


@pytest.mark.parametrize("weight", [None, 2.5])
@pytest.mark.parametrize("layout", [LINES, SHARED, ONE_LINE, SHARED_LINE])
def test_loss_and_gradient_are_those_of_separate_padded_rows(
    layout: str, weight: float | None
) -> None:
    samples = [conversation(3, 1, weight), growing(3), conversation(2, 2).rows[1]]
    loss, gradient, tokens = loss_and_gradient([[sample] for sample in samples], layout)
    separate = [[turn] for sample in samples for turn in sample.rows]
    expected, expected_gradient, padded = loss_and_gradient(separate, PADDED)
    assert float(loss) == pytest.approx(float(expected), abs=TOLERANCE)
    assert (gradient - expected_gradient).norm() <= TOLERANCE * expected_gradient.norm()
    if layout in (SHARED, SHARED_LINE):
        once = sum(computed_tokens(sample, shares=True) for sample in samples)
        assert tokens == once < sum(len(turn) for (turn,) in separate) < padded


def test_a_window_of_attention_counts_along_the_row_not_along_the_line() -> None:
    samples = [[conversation(3, 1)], [growing(3)]]
    loss, gradient, _ = loss_and_gradient(samples, SHARED_LINE, kind="mistral")
    separate = [[turn] for (sample,) in samples for turn in sample.rows]
    expected, expected_gradient, _ = loss_and_gradient(separate, PADDED, kind="mistral")
    assert float(loss) == pytest.approx(float(expected), abs=TOLERANCE)
    assert (gradient - expected_gradient).norm() <= TOLERANCE * expected_gradient.norm()


def test_each_row_attends_to_its_tokens_alone() -> None:
    """Held against the definition: a token sees the places that hold the row's earlier tokens."""
    sample = conversation(4, 3)
    batch = rows_batch([sample], SHARED)
    assert batch is not None
    (mask,) = batch["attention_mask"][:, 0]
    (ids,), (positions,) = batch["input_ids"], batch["position_ids"]
    seen = [
        [int(ids[place]) for place in torch.nonzero(mask[last]).flatten()]
        for last in range(len(ids))
    ]
    for turn in sample.rows:
        assert turn.input_ids.tolist() in seen
    for place, tokens in enumerate(seen):
        assert len(tokens) == positions[place] + 1
        assert any(turn.input_ids[: len(tokens)].tolist() == tokens for turn in sample.rows)


def test_an_empty_line_is_a_row_that_sees_itself() -> None:
    assert np.array_equal(tree_mask([[]], 3)[0, 0], np.tril(np.ones((3, 3), bool)))


def test_conversations_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    samples = [conversation(3, 1), growing(4), conversation(2, 2, 0.5), row([1, 2, 3], 1, 2.0)]
    write(tmp_path / "a.arrow", samples)
    stored = StoredSamples(tmp_path / "a.arrow")
    assert stored.turns.tolist() == [3, 4, 2, 0]
    for sample, number in zip(samples, range(4), strict=True):
        again = stored[number]
        assert again.prefixes == sample.prefixes
        assert stored.computed[number] == computed_tokens(sample, shares=True)
        for first, second in zip(again.rows, sample.rows, strict=True):
            assert np.array_equal(first.input_ids, second.input_ids)
            assert np.array_equal(first.labels, second.labels)
            assert (first.weights is None) == (second.weights is None)
            if first.weights is not None:
                assert np.array_equal(first.weights, second.weights)


def test_a_conversation_is_held_out_as_a_whole() -> None:
    samples = [conversation(3, seed) for seed in range(10)]
    fitted = fit(MemorySamples(samples), max_length=200, truncation="error")
    training, held_out = hold_out(fitted.rows, 0.3, seed=1)
    assert (len(training), len(held_out)) == (7, 3)
    assert all(isinstance(sample, TurnRows) and len(sample.rows) == 3 for sample in held_out)
    assert fitted.turns == {"conversations": 10, "rows": 30, "tokens": 1080, "computed": 750}


def test_truncation_leaves_out_the_turns_that_have_nothing_left_to_learn() -> None:
    sample = conversation(4)
    limit = len(sample.rows[1])
    fitted = fit(MemorySamples([sample]), max_length=limit, truncation="right")
    (short,) = fitted.rows
    assert fitted.cut == 1
    assert len(short.rows) == 2
    assert fitted.trained_tokens == short.trained == 24
    assert fitted.turns is not None
    assert fitted.turns["rows"] == 2


@pytest.mark.parametrize("shares", [True, False])
def test_units_stay_within_max_length_and_lose_no_turn(shares: bool) -> None:
    samples = [conversation(6, seed) for seed in range(3)]
    limit = len(samples[0])
    fitted = fit(MemorySamples(samples), max_length=limit, truncation="error")
    units = TurnUnits(fitted.rows, limit, shares=shares)
    sizes = [computed_tokens(sample, shares=shares) for unit in units for sample in unit]
    assert max(sizes) <= limit
    assert len(units) > len(samples)
    learned = [turn.labels[-12:].tolist() for unit in units for s in unit for turn in s.rows]
    assert learned == [turn.labels[-12:].tolist() for s in samples for turn in s.rows]


def test_packing_counts_what_rows_share_once() -> None:
    samples = [conversation(3, seed) for seed in range(4)]
    size = computed_tokens(samples[0], shares=True)
    assert len(pack(samples, 2 * size, shares=True)) == 2
    assert len(pack(samples, 2 * size)) == 4


def test_weights_multiply_the_loss_of_their_tokens_and_not_the_number_of_terms() -> None:
    plain, _, _ = loss_and_gradient([[row([1, 2, 3, 4, 5], 3)]], LINES)
    double, _, _ = loss_and_gradient([[row([1, 2, 3, 4, 5], 3, 2.0)]], LINES)
    assert float(double) == pytest.approx(2 * float(plain), rel=1e-12)


def test_batches_have_no_weights_where_all_are_one() -> None:
    collate = METHODS["sft"].collate
    assert collate is not None
    for layout in (LINES, PADDED, SHARED, SHARED_LINE):
        assert "weights" not in collate([[conversation(2)], [growing(2)]], layout)
