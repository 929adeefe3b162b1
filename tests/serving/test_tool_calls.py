"""What a model writes between <tool_call> marks is a call, however its text is cut to pieces."""

from __future__ import annotations

import json

import pytest

from swiftbox.serving.tool_calls import Calls

ONE = '<tool_call>\n{"name": "look", "arguments": {"at": "城"}}\n</tool_call>'
TWO = f'I look.\n{ONE}\n<tool_call>{{"name": "go", "parameters": {{}}}}</tool_call>\n'


def read(text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    calls, said, found = Calls(), "", []
    pieces = [calls.feed(text[at : at + size]) for at in range(0, len(text), size)]
    for words, some in [*pieces, calls.finish()]:
        said += words
        found += [(one["function"]["name"], one["function"]["arguments"]) for one in some]
    return said, found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_are_taken_out_of_the_text(size: int) -> None:
    said, found = read(TWO, size)
    assert said.strip() == "I look."
    assert [(name, json.loads(words)) for name, words in found] == [
        ("look", {"at": "城"}),
        ("go", {}),
    ]


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "a < b and <tool",
        "<tool_call>no JSON</tool_call> and on",
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>[1]</tool_call>",
        "<tool_call>",
    ],
)
def test_what_only_looks_like_a_call_stays_text(text: str, size: int) -> None:
    assert read(text, size) == (text, [])


def test_a_call_whose_last_mark_is_missing_is_one() -> None:
    said, found = read('<tool_call>{"name": "look", "arguments": "{}"}', 4)
    assert (said, found) == ("", [("look", "{}")])


def test_every_call_has_an_id_of_its_own() -> None:
    calls = Calls()
    calls.feed(ONE + ONE)
    assert len({one["id"] for one in calls.found}) == 2
