"""The losses of classifiers against transformers' own, and the metrics against known truths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifiers import build_bert
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ModernBertDecoderConfig,
    ModernBertDecoderForSequenceClassification,
)

from swiftbox.config.classification import MULTI, REGRESSION, SINGLE
from swiftbox.core.data.batches import LINES, PADDED
from swiftbox.core.data.classified import encode_classified
from swiftbox.core.data.samples import ClassifiedRow, TokenRow
from swiftbox.core.losses.classification import class_logits, measure
from swiftbox.core.losses.terms import LossContext
from swiftbox.data.classes import ClassTable
from swiftbox.data.example import Example
from swiftbox.methods import METHODS

# The libraries' own warnings are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = ("a", "b", "c")
TEXTS = ("x", "a longer text of some words", "another one, in the middle")
TARGETS: dict[str, tuple[list[Any], torch.Tensor]] = {
    SINGLE: (["c", "a", "b"], torch.tensor([2, 0, 1])),
    MULTI: ([("a", "c"), (), ("b",)], torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])),
    REGRESSION: ([0.5, -2, "3"], torch.tensor([0.5, -2.0, 3.0])),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bert(tmp_path_factory.mktemp("models") / "bert")


def loaded(folder: Path, problem: str) -> Any:
    torch.manual_seed(0)
    labels = 1 if problem == REGRESSION else 3
    keys = {"num_labels": labels, "problem_type": problem, "pad_token_id": 0}
    model = AutoModelForSequenceClassification.from_pretrained(folder, **keys)
    return model.double().eval()


def ours(folder: Path, model: Any, examples: list[Example], problem: str, layout: str) -> float:
    method = METHODS["classification"]
    keys = {"task": "train", "model": str(folder), "dataset": "x", "problem_type": problem}
    config = method.config(**keys, max_length=64)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = encode_classified(examples, tokenizer, config)
    units = [[sample] for result in encoded for sample in result.samples]
    assert len(units) == len(examples), [result.error for result in encoded]
    classes = ClassTable(problem, () if problem == REGRESSION else NAMES)
    batch = method.collate(units, layout, classes, model.config.pad_token_id)
    with torch.no_grad():
        terms = method.loss(model, batch, LossContext(config))
    return float(terms.total / terms.count)


@pytest.mark.parametrize("problem", TARGETS)
@pytest.mark.parametrize("layout", [LINES, PADDED])
def test_the_loss_of_a_decoder_is_that_of_transformers(
    problem: str, layout: str, tiny: Path
) -> None:
    model, tokenizer = loaded(tiny, problem), AutoTokenizer.from_pretrained(tiny)
    values, target = TARGETS[problem]
    inputs = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    labels = target.double() if target.is_floating_point() else target
    expected = float(model(**inputs, labels=labels).loss)
    examples = [Example(text=text, target=value) for text, value in zip(TEXTS, values, strict=True)]
    # float64; the number to predict is kept in float32, which holds these exactly
    assert ours(tiny, model, examples, problem, layout) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("problem", TARGETS)
def test_the_loss_of_pairs_of_an_encoder_is_that_of_transformers(problem: str, bert: Path) -> None:
    model, tokenizer = loaded(bert, problem), AutoTokenizer.from_pretrained(bert)
    values, target = TARGETS[problem]
    seconds = TEXTS[::-1]
    inputs = tokenizer(list(TEXTS), list(seconds), padding=True, return_tensors="pt")
    labels = target.double() if target.is_floating_point() else target
    expected = float(model(**inputs, labels=labels).loss)
    examples = [
        Example(text=text, second=second, target=value)
        for text, second, value in zip(TEXTS, seconds, values, strict=True)
    ]
    assert ours(bert, model, examples, problem, PADDED) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("layout", [LINES, PADDED])
def test_tokens_of_padding_that_end_a_text_are_skipped_as_transformers_does(
    layout: str, tiny: Path
) -> None:
    model, tokenizer = loaded(tiny, SINGLE), AutoTokenizer.from_pretrained(tiny)
    model.config.pad_token_id = tokenizer(TEXTS[1])["input_ids"][-1]
    inputs = [tokenizer(part, return_tensors="pt") for part in TEXTS]
    target = TARGETS[SINGLE][1]
    expected = [
        float(model(**row, labels=label[None]).loss)
        for row, label in zip(inputs, target, strict=True)
    ]
    examples = [
        Example(text=part, target=value)
        for part, value in zip(TEXTS, TARGETS[SINGLE][0], strict=True)
    ]
    loss = ours(tiny, model, examples, SINGLE, layout)
    assert loss == pytest.approx(sum(expected) / 3, rel=1e-9)


def test_a_decoder_that_finds_the_last_token_by_itself_finds_it_in_a_padded_batch() -> None:
    torch.manual_seed(0)
    config = ModernBertDecoderConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=7,
        num_labels=3,
    )
    model = ModernBertDecoderForSequenceClassification(config).double().eval()
    ids = ([11, 12], [13, 14, 15, 16, 17])
    rows = [TokenRow(np.array(row, np.int32), np.array(row, np.int32)) for row in ids]
    units = [[ClassifiedRow(row, ("a",))] for row in rows]
    batch = METHODS["classification"].collate(units, PADDED, ClassTable(SINGLE, NAMES), 7)
    with torch.no_grad():
        logits = class_logits(model, batch)
        expected = torch.cat([model(torch.tensor([row])).logits for row in ids])
    assert torch.allclose(logits, expected, rtol=1e-9)  # float64; other shapes of the products


def test_a_text_is_cut_as_the_tokenizer_cuts_it(bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    long, short = "word " * 30, "end"
    keys = {"task": "train", "model": str(bert), "dataset": "x", "truncation": "right"}
    config = METHODS["classification"].config(**keys, max_length=12)
    examples = [Example(text=long, second=short, target="a")]
    (sample,) = encode_classified(examples, tokenizer, config)[0].samples
    assert len(sample) == len(tokenizer(long, short)["input_ids"])  # counted before the cut
    expected = tokenizer(long, short, truncation=True, max_length=12)["input_ids"]
    assert sample.truncated(12).rows[0].input_ids.tolist() == expected


def test_the_metrics_of_labels_are_those_of_their_definitions() -> None:
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [2, 0, 0]])
    metrics = measure(logits, np.array([0.0, 1, 0, 0]), SINGLE)
    # label 0: 2 of 2 predicted are right, 2 of 3 are predicted; label 1: 1 of 2, 1 of 1
    assert metrics == pytest.approx({"accuracy": 0.75, "macro_f1": (4 / 5 + 2 / 3) / 2})


def test_the_metrics_of_several_labels_are_those_of_their_definitions() -> None:
    logits = np.array([[1.0, -1], [1, 1], [-1, -1]])
    metrics = measure(logits, np.array([[1.0, 0], [0, 1], [0, 1]]), MULTI)
    expected = {"accuracy": 1 / 3, "macro_f1": 2 / 3, "micro_f1": 2 * 2 / (3 + 3)}
    assert metrics == pytest.approx(expected)


def test_the_metrics_of_numbers_are_those_of_their_definitions() -> None:
    metrics = measure(np.array([[1.0], [2], [4]]), np.array([1.0, 2, 3]), REGRESSION)
    expected = {"mse": 1 / 3, "mae": 1 / 3, "pearson": 0.9819805060619657}
    assert metrics == pytest.approx(expected)
    constant = measure(np.array([[1.0], [1]]), np.array([1.0, 2]), REGRESSION)
    assert "pearson" not in constant
