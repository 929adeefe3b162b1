"""Text between <tool_call> marks is a call, whatever the chunks it arrives in."""

from __future__ import annotations

import json

import pytest

from swiftbox.serving.tool_calls import ToolCallParser

ONE = '<tool_call>\n{"name": "look", "arguments": {"at": "城"}}\n</tool_call>'
TWO = f'I look.\n{ONE}\n<tool_call>{{"name": "go", "parameters": {{}}}}</tool_call>\n'


def read(text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    parser, content, calls = ToolCallParser(), "", []
    pieces = [parser.feed(text[start : start + size]) for start in range(0, len(text), size)]
    for piece, new_calls in [*pieces, parser.finish()]:
        content += piece
        calls += [(call["function"]["name"], call["function"]["arguments"]) for call in new_calls]
    return content, calls


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_are_removed_from_the_text(size: int) -> None:
    content, calls = read(TWO, size)
    assert content.strip() == "I look."
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
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
def test_text_that_only_resembles_a_call_stays_text(text: str, size: int) -> None:
    assert read(text, size) == (text, [])


def test_a_call_without_its_closing_mark_is_a_call() -> None:
    content, calls = read('<tool_call>{"name": "look", "arguments": "{}"}', 4)
    assert (content, calls) == ("", [("look", "{}")])


def test_every_call_has_a_unique_id() -> None:
    parser = ToolCallParser()
    parser.feed(ONE + ONE)
    assert len({call["id"] for call in parser.calls}) == 2
