"""A proposal of columns is right or absent: an object with answers has no title for its answer."""

from __future__ import annotations

from swiftbox.data.formats import likely_targets


def test_a_title_beside_an_object_of_answers_is_not_proposed() -> None:
    row = {"id": "1", "title": "T", "context": "c", "question": "q", "answers": {"text": ["a"]}}
    assert likely_targets([row], "sft") == {}
    ranked = {"prompt": "q", "answers": [{"answer": "a", "rank": 1}], "source": "s"}
    assert likely_targets([ranked], "dpo") == {}
