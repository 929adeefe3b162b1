"""Cells hold lists as JSON or as Python prints them; a content may be a part without a list."""

from __future__ import annotations

from typing import Any

import pytest

from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import read_row
from swiftbox.data.literals import decoded

PRINTED = """[{'from': 'user', 'value': "it's\\nWhy?"}, {'from': 'assistant', 'value': 'So.'}]"""
WITHOUT_COMMAS = """[{'from': 'user', 'value': '}\\n {'}
 {'from': 'assistant', 'value': 'So.'}]"""


def read(row: dict[str, Any], stage: str = "sft") -> Example:
    return read_row(row, stage)[1]


def test_a_printed_conversation_is_read() -> None:
    example = read({"conversations": PRINTED})
    assert [turn.content for turn in example.messages] == ["it's\nWhy?", "So."]


def test_a_printed_array_without_commas_is_read_and_its_texts_stay() -> None:
    example = read({"conversations": WITHOUT_COMMAS})
    assert [turn.content for turn in example.messages] == ["}\n {", "So."]


def test_printed_pairs_and_a_printed_history_are_read() -> None:
    pairs = "[{'human': 'Why?', 'assistant': 'So.'}]"
    assert len(read({"conversation": pairs}).messages) == 2
    row = {"query": "q", "response": "a", "history": "[['q1', 'a1']]"}
    assert [turn.content for turn in read(row).messages] == ["q1", "a1", "q", "a"]


def test_printed_preferences_are_read() -> None:
    row = {
        "prompt": "[{'role': 'user', 'content': 'q'}]",
        "chosen": "{'role': 'assistant', 'content': 'good'}",
        "rejected": "{'role': 'assistant', 'content': 'bad'}",
    }
    example = read(row, "dpo")
    assert (example.messages[-1].content, example.rejected[-1].content) == ("good", "bad")


def test_a_text_that_looks_like_a_list_stays_a_text() -> None:
    for text in ("[1] is a source", "{x}", "[not a list", "['a', b]", "{1, 2}", "[b'x']", "[...]"):
        assert read({"query": text, "response": "a"}).messages[0].content == text


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[" + "-" * 100_000 + "1]", "['\\d']", "['\\ud800']", ""]
)
def test_other_texts_are_not_decoded(content: str) -> None:
    assert decoded(content) is None


def test_texts_without_a_comma_are_not_joined() -> None:
    assert decoded("['a' 'b']") is decoded("[['q1'\n 'a1'],\n ['q2', 'a2']]") is None
    assert decoded("""["say 'a' 'b'", 'c',\n 'd']""") == ["say 'a' 'b'", "c", "d"]
    with pytest.raises(RowError, match="history is not JSON"):
        read({"query": "q", "response": "a", "history": "[['q1' 'a1']]"})


def test_a_printed_list_that_is_broken_is_a_bad_row() -> None:
    with pytest.raises(RowError, match="conversations is not JSON"):
        read({"conversations": "[{'from': 'user', 'value': 'q'"})


def test_the_tools_of_a_text_may_follow_each_other() -> None:
    tools = '{"name": "f", "parameters": {}}\n\n{"name": "g", "parameters": {}}\n'
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    names = [tool["function"]["name"] for tool in read({**row, "tools": tools}).tools]
    assert names == ["f", "g"]
    (tool,) = read({**row, "tools": {"name": "f"}}).tools
    assert tool["function"]["name"] == "f"


def test_a_call_with_quoted_arguments_is_read() -> None:
    call = """{"name": "f", "arguments": '{"city": "Bonn"}'}"""
    turns = [{"from": "human", "value": "q"}, {"from": "function-call", "value": call}]
    (read_call,) = read({"conversations": turns}).messages[-1].tool_calls
    assert read_call["function"]["name"] == "f"


PART = {"type": "text", "text": "x"}


def test_a_part_needs_no_list() -> None:
    turns = [{"role": "user", "content": PART}, {"role": "assistant", "content": PART}]
    assert [turn.content for turn in read({"messages": turns}).messages] == ["x", "x"]


def test_the_part_of_a_tool_needs_no_list_and_an_object_stays_an_object() -> None:
    def result(content: Any) -> str:
        calls = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
        turns = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": content},
            {"role": "assistant", "content": "a"},
        ]
        return read({"messages": turns}).messages[2].content

    assert result(PART) == "x"
    assert result({**PART, "id": 3}) == '{"type": "text", "text": "x", "id": 3}'


def test_a_part_of_an_image_is_refused_as_one() -> None:
    turns = [{"role": "user", "content": {"type": "image_url", "image_url": "u"}}]
    with pytest.raises(RowError, match="a part of type image_url"):
        read({"messages": turns})
