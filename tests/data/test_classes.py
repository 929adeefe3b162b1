"""The labels of a classifier: which values are labels, and the order of the outputs."""

from __future__ import annotations

from typing import Any

import pytest

from swiftbox.config.classification import MULTI, REGRESSION, SINGLE
from swiftbox.data.classes import LabelRules
from swiftbox.data.example import RowError
from swiftbox.data.formats import read_row
from swiftbox.errors import DataError

READ: list[tuple[LabelRules, Any, Any]] = [
    (LabelRules(SINGLE), 1, ("1",)),
    (LabelRules(SINGLE), 1.0, ("1",)),
    (LabelRules(SINGLE), " good ", ("good",)),
    (LabelRules(SINGLE), True, ("true",)),
    (LabelRules(SINGLE), ("only",), ("only",)),
    (LabelRules(SINGLE, ("bad", "good")), 1, ("good",)),
    (LabelRules(SINGLE, ("bad", "good")), "bad", ("bad",)),
    (LabelRules(SINGLE, ("3", "1")), 1, ("1",)),  # names that are numbers are no places
    (LabelRules(MULTI), ("a", "b"), ("a", "b")),
    (LabelRules(MULTI), (), ()),
    (LabelRules(MULTI), '["a", 2]', ("a", "2")),
    (LabelRules(MULTI), "['a', 'b']", ("a", "b")),
    (LabelRules(SINGLE), "[other]", ("[other]",)),
    (LabelRules(MULTI, count=3), (0, 1, 1), ("1", "2")),
    (LabelRules(MULTI, ("a", "b", "c")), (1.0, 0.0, 1.0), ("a", "c")),
    (LabelRules(REGRESSION), "0.25", 0.25),
    (LabelRules(REGRESSION), (2,), 2.0),
]


@pytest.mark.parametrize(("rules", "value", "expected"), READ)
def test_a_value_is_read_as_labels_or_a_number(
    rules: LabelRules, value: Any, expected: Any
) -> None:
    assert rules.read(value) == expected


REFUSED: list[tuple[LabelRules, Any, str]] = [
    (LabelRules(SINGLE), ("a", "b"), "has 2 labels, where one is expected"),
    (LabelRules(SINGLE), (), "label is an empty list"),
    (LabelRules(SINGLE), 0.5, "got 0.5"),
    (LabelRules(SINGLE), {"a": 1}, "got object"),
    (LabelRules(SINGLE), "x" * 300, "a text of 300 characters"),
    (LabelRules(SINGLE, ("bad", "good")), "goood", "is not in label_names: bad, good"),
    (LabelRules(SINGLE, ("bad", "good")), 2, "is not in label_names"),
    (LabelRules(SINGLE, count=2), 2, "label should be from 0 to 1"),
    (LabelRules(MULTI), ("a", "a"), "repeats a label"),
    (LabelRules(MULTI), (0, 1, 1), "num_labels or label_names"),
    (LabelRules(MULTI, count=2), (0, 1), "may mean both labels"),
    (LabelRules(REGRESSION), "much", "label should be a number (got 'much')"),
    (LabelRules(REGRESSION), True, "got boolean"),
    (LabelRules(REGRESSION), float("nan"), "got number"),
]


@pytest.mark.parametrize(("rules", "value", "reason"), REFUSED)
def test_a_value_without_a_clear_label_makes_a_bad_row(
    rules: LabelRules, value: Any, reason: str
) -> None:
    with pytest.raises(RowError) as refused:
        rules.read(value)
    assert reason in refused.value.en
    assert refused.value.zh


def test_numbers_are_ordered_by_value_and_texts_by_their_characters() -> None:
    assert LabelRules(SINGLE).table({"10": 1, "9": 1}).names == ("9", "10")
    assert LabelRules(SINGLE).table({"b": 1, "a": 1, "10": 1}).names == ("10", "a", "b")
    assert LabelRules(SINGLE, count=3).table({"2": 1, "0": 1}).names == ("0", "1", "2")
    assert LabelRules(SINGLE, ("z", "a")).table({"a": 1}).names == ("z", "a")
    assert LabelRules(REGRESSION).table({}).outputs == 1


@pytest.mark.parametrize(
    ("rules", "counts", "reason"),
    [
        (LabelRules(SINGLE), {"a": 5}, "needs two labels or more"),
        (LabelRules(SINGLE, count=3), {"a": 1, "b": 1}, "num_labels: 3, but the rows have 2"),
        (LabelRules(SINGLE, ("a", "b"), 3), {"a": 1}, "label_names has 2"),
    ],
)
def test_labels_that_make_no_classifier_are_refused(
    rules: LabelRules, counts: dict[str, int], reason: str
) -> None:
    with pytest.raises(DataError) as refused:
        rules.table(counts)
    assert reason in refused.value.message
    assert refused.value.hint


ROWS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"text": "t", "label": 1}, "t", None),
    ({"sentence": "t", "label": 1, "idx": 3}, "t", None),
    ({"query": "t", "input": "c", "label": 1}, "t\nc", None),
    ({"premise": "t", "hypothesis": "u", "label": 1}, "t", "u"),
    ({"question": "t", "sentence": "u", "label": 1}, "t", "u"),
    ({"sentence1": "t", "sentence2": "u", "score": 0.5}, "t", "u"),
    ({"文本": "t", "标签": "x"}, "t", None),
]


@pytest.mark.parametrize(("row", "text", "second"), ROWS)
def test_published_columns_are_read(row: dict[str, Any], text: str, second: str | None) -> None:
    example = read_row(row, "classification")[1]
    assert (example.text, example.second) == (text, second)
    assert example.target is not None


def test_a_conversation_may_end_with_either_side() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for messages in (turns, turns[:1]):
        example = read_row({"messages": messages, "label": "x"}, "classification")[1]
        assert len(example.messages) == len(messages)


def test_two_texts_that_could_be_classified_are_asked_for() -> None:
    with pytest.raises(RowError, match="not clear which of text, query is classified"):
        read_row({"text": "t", "query": "u", "label": 1}, "classification")
