"""Pairs whose prompt is computed once score and learn as separate answers do."""

from __future__ import annotations

from typing import Any

import numpy as np
import preferences
import pytest
import torch
from attention_models import tiny_model

from swiftbox.core.attention.varlen import use_varlen
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED, SHARED_LINE
from swiftbox.core.data.samples import PreferencePair, TokenRow
from swiftbox.core.data.shared_prompts import Branch, sharing_pays, tree_mask
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.scoring import pair_batch, scores
from swiftbox.methods import METHODS

TOLERANCE = 1e-5
"""Models are float64; RMSNorm rounds to float32, by 6e-8, which losses amplify to 1e-6."""


@pytest.fixture(scope="module")
def pairs() -> list[PreferencePair]:
    return preferences.pairs(4)


def model_for(kind: str, layout: str) -> Any:
    model = tiny_model(kind)
    if layout in (ONE_LINE, SHARED_LINE):
        assert use_varlen(model, torch.float32, torch.device("cpu")) == ""
    return model


def loss_and_gradient(model: Any, stage: str, batch: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    context = preferences.context(model, stage, reference=Half())
    terms = METHODS[stage].loss(model, batch, context)
    (terms.total / terms.count).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return (terms.total / terms.count).detach(), torch.cat([part.flatten() for part in gradients])


class Half:
    """A reference policy that scores every answer with half of what the model does."""

    def sums(self, model: Any, _known: Any, batch: Any, reader: Any, sequences: int) -> Any:
        with torch.no_grad():
            return scores(model, batch, reader, sequences=sequences).sums / 2


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "qwen3 windows"])
@pytest.mark.parametrize("layout", [ONE_LINE, SHARED_LINE])
def test_answers_score_the_same_in_one_line(
    kind: str, layout: str, pairs: list[PreferencePair]
) -> None:
    results = []
    for name in (PADDED, layout):
        batch = pair_batch(pairs, name)
        with torch.no_grad():
            reader = LogProbReader(linear_head=True)
            results.append(scores(model_for(kind, name), batch, reader, sequences=8).sums)
    assert ("key_indices" in batch) == (layout == SHARED_LINE)
    assert torch.allclose(results[0], results[1], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("stage", ["dpo", "orpo", "kto"])
def test_losses_and_gradients_are_those_of_padded_answers(
    stage: str, pairs: list[PreferencePair]
) -> None:
    samples = preferences.labeled_answers(4) if stage == "kto" else pairs
    results = []
    for layout in (PADDED, SHARED_LINE):
        batch = METHODS[stage].collate([[sample] for sample in samples], layout)
        results.append(loss_and_gradient(model_for("qwen3", layout), stage, batch))
    (padded, expected), (loss, gradient) = results
    assert float(loss) == pytest.approx(float(padded), abs=TOLERANCE)
    assert (gradient - expected).norm() <= TOLERANCE * expected.norm()


def test_a_shared_prompt_is_stored_once(pairs: list[PreferencePair]) -> None:
    batch = pair_batch(pairs, SHARED_LINE)
    answers = sum(len(row) for pair in pairs for row in pair.rows)
    shared = sum(pair.shared for pair in pairs)
    assert batch["input_ids"].shape == (1, answers - shared)
    assert len(batch["key_indices"]) == answers == batch["cu_seq_lens_k"][-1]
    assert batch["cu_seq_lens_q"].tolist()[:2] == [0, len(pairs[0].chosen)]
    assert batch["max_length_k"] == max(len(row) for pair in pairs for row in pair.rows)
    assert type(batch["max_length_q"]) is int
    assert batch["cu_seq_lens_q"].dtype == torch.int32


def test_the_mask_of_pairs_is_causal_within_each_answer_and_its_prompt() -> None:
    """Two pairs in the first line, the second without a prompt; one in the second line."""
    lines = [
        [Branch(0, 4), Branch(4, 7, ((0, 2),)), Branch(7, 9), Branch(9, 9)],
        [Branch(0, 6), Branch(6, 8, ((0, 5),))],
    ]
    mask = tree_mask(lines, 11)
    assert mask.shape == (2, 1, 11, 11)
    for line, branches in enumerate(lines):
        for branch in (*branches, Branch(branches[-1].end, 11)):
            prompt = {place for start, end in branch.prefix for place in range(start, end)}
            for token in range(branch.start, branch.end):
                seen = set(np.flatnonzero(mask[line, 0, token]).tolist())
                assert seen == prompt | set(range(branch.start, token + 1)), (line, token)


def lengths(prompt: int, chosen: int, rejected: int) -> PreferencePair:
    first, second = (
        TokenRow(np.full(prompt + count, count, np.int32), np.full(prompt + count, 1, np.int32))
        for count in (chosen, rejected)
    )
    return PreferencePair(first, second, shared=prompt)


@pytest.mark.parametrize(
    ("pair", "pays"),
    [
        (lengths(1000, 100, 100), True),
        (lengths(200, 60, 80), True),
        (lengths(100, 2000, 1900), False),
        (lengths(10, 600, 700), False),
    ],
)
def test_prompts_are_shared_by_a_mask_only_where_that_costs_less(
    pair: PreferencePair, pays: bool
) -> None:
    assert sharing_pays([pair]) is pays
    assert ("attention_mask" in pair_batch([pair], SHARED)) is pays


def test_lines_of_a_single_answer_need_no_mask(pairs: list[PreferencePair]) -> None:
    pair = lengths(10, 600, 700)
    positions = pair_batch([pair], LINES)["position_ids"]
    assert torch.equal(positions, torch.arange(710).expand(2, -1))
    joined = pair_batch(pairs, LINES)["position_ids"]
    assert int(joined[0].diff().min()) < 0
