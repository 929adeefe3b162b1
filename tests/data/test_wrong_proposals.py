"""A proposal of columns is right or absent: an answer that is an object is no title."""

from __future__ import annotations

from swiftbox.data.formats import likely_targets


def test_the_only_text_left_is_no_answer_where_an_object_is() -> None:
    row = {"id": "1", "title": "T", "context": "c", "question": "q", "answers": {"text": ["a"]}}
    assert likely_targets([row], "sft") == {}
    ranked = {"prompt": "q", "answers": [{"answer": "a", "rank": 1}], "source": "s"}
    assert likely_targets([ranked], "dpo") == {}
