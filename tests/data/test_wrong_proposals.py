"""A proposal of columns is right or absent: an object with answers has no title for its answer."""

from __future__ import annotations

import pytest

from swiftbox.data.example import RowError
from swiftbox.data.formats import likely_targets, read_row

PAIRS = {
    "whole texts": {"chosen": "Human: q Assistant: a", "rejected": "Human: q Assistant: no"},
    "stack-exchange-paired": {"question": "q", "response_j": "a", "response_k": "longer"},
    "a better one": {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
}


def test_a_title_beside_an_object_of_answers_is_not_proposed() -> None:
    row = {"id": "1", "title": "T", "context": "c", "question": "q", "answers": {"text": ["a"]}}
    assert likely_targets([row], "sft") == {}
    ranked = {"prompt": "q", "answers": [{"answer": "a", "rank": 1}], "source": "s"}
    assert likely_targets([ranked], "dpo") == {}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_not_proposed_as_a_question_and_its_answer(name: str) -> None:
    with pytest.raises(RowError, match="rows are for stage: dpo") as caught:
        read_row(PAIRS[name], "sft")
    assert "columns:" not in caught.value.en


def test_the_worse_of_two_answers_is_not_proposed_as_the_answer() -> None:
    row = {"question": "q", "good_answer": "a", "bad_answer": "a much longer one"}
    proposed = {"question": "query", "good_answer": "response", "bad_answer": "unused"}
    assert likely_targets([row], "sft") == proposed
    assert likely_targets([{"foo": "q", "rejected": "a"}], "sft") == {}
