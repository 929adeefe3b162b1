"""The shapes of turns that datasets write, and the order they may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, source, turns, write

from swiftbox.data.check import check_rows
from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import read_row

QA = [("user", "q"), ("assistant", "a")]
S = {"role": "system", "content": "s"}


def read(*messages: Any, stage: str = "sft", **columns: Any) -> Example:
    return read_row({"messages": list(messages), **columns}, stage)[1]


def reason(*messages: Any) -> str:
    with pytest.raises(RowError) as caught:
        read(*messages)
    return caught.value.reason


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "image_url": None}


SHAPES: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "text parts": ([{**Q, "content": [text("q")]}, {**A, "content": [text("a")]}], QA),
    "parts without a type": ([{**Q, "content": [{"text": "q"}]}, {**A, "content": ["a"]}], QA),
    "parts are joined as in the server": (
        [{**Q, "content": [text("a "), text("q")]}, A],
        [("user", "a q"), QA[1]],
    ),
    "parts of the Responses API": (
        [
            {**Q, "content": [{"type": "input_text", "text": "q"}]},
            {**A, "content": [{"type": "output_text", "text": "a"}]},
        ],
        QA,
    ),
    "roles in capitals": ([{**Q, "role": "User"}, {**A, "role": "ASSISTANT"}], QA),
    "developer": ([{**S, "role": "Developer"}, Q, A], [("developer", "s"), *QA]),
    "bot": ([Q, {**A, "role": "bot"}], QA),
    "Chinese roles": ([{**Q, "role": "用户"}, {**A, "role": "助手"}], QA),
    "null-padded turns": (
        [{**Q, "from": None, "value": None, "tool_calls": None}, {**A, "name": None}],
        QA,
    ),
    "a null role beside from": (
        [
            {"role": None, "content": None, "from": "human", "value": "q"},
            {"role": None, "content": None, "from": "gpt", "value": "a"},
        ],
        QA,
    ),
    "role with value": ([{"role": "user", "value": "q"}, {"role": "assistant", "value": "a"}], QA),
    "pairs of XTuner": (
        [{"system": "s", "input": "q", "output": "a"}, {"input": "r", "output": "b"}],
        [("system", "s"), *QA, ("user", "r"), ("assistant", "b")],
    ),
    "pairs of ms-swift": ([{"human": "q", "assistant": "a"}], QA),
    "alternating texts": (["q", "a"], QA),
    "system in the middle": ([Q, A, S, Q, A], [*QA, ("system", "s"), *QA]),
    "assistant first": ([A, Q, A], [QA[1], *QA]),
    "two users in a row": ([Q, Q, A], [QA[0], *QA]),
    "an empty turn that is not learned": (
        [Q, {**A, "content": None, "weight": 0}, Q, A],
        [QA[0], ("assistant", ""), *QA],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_turns_of_every_shape_are_read(name: str) -> None:
    messages, expected = SHAPES[name]
    assert turns(read(*messages)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"sky": "clear"}, '{"sky": "clear"}'),
        ([{"id": 1}], '[{"id": 1}]'),
        ([], "[]"),
        (7, "7"),
        (None, ""),
        ([text("clear")], "clear"),
        ("晴", "晴"),
        ({"天": "晴"}, '{"天": "晴"}'),
    ],
)
def test_the_result_of_a_tool_is_read_as_text(content: Any, expected: str) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    example = read(Q, call, {"role": "tool", "content": content}, A)
    assert turns(example)[2] == ("tool", expected)


def test_calls_of_several_turns_in_a_row_are_those_of_a_single_turn() -> None:
    calls = [
        {"role": "tool_call", "content": f'{{"name": "f", "arguments": {{"city": "{city}"}}}}'}
        for city in ("Rome", "Bonn")
    ]
    results = [{"role": "tool_response", "content": "r"}] * 2
    example = read(Q, *calls, *results, A)
    assert [turn.role for turn in example.messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    cities = [call["function"]["arguments"]["city"] for call in example.messages[1].tool_calls]
    assert cities == ["Rome", "Bonn"]


def test_a_call_after_the_words_of_its_turn_belongs_to_it() -> None:
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}
    example = read(Q, {**A, "content": "wait"}, call, {"role": "tool", "content": "r"}, A)
    assert turns(example)[1] == ("assistant", "wait")
    assert len(example.messages[1].tool_calls) == 1


def test_a_turn_may_be_the_call_itself() -> None:
    call = {"role": "tool_call", "name": "f", "arguments": {"city": "Rome"}}
    example = read(Q, call, {"role": "tool", "content": "r"}, A)
    function = {"name": "f", "arguments": {"city": "Rome"}}
    assert [called["function"] for called in example.messages[1].tool_calls] == [function]
    assert (example.messages[1].extra, example.unused) == ((), ())


def test_parts_of_a_turn_may_be_thoughts_texts_and_calls() -> None:
    call = {"type": "tool_call", "value": '{"name": "f", "arguments": {"city": "Rome"}}'}
    parts = [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "Wait."}, call]
    turn = {"role": "assistant", "content": parts, "loss_weight": 1.0}
    result = {"role": "tool", "content": [{"type": "text", "value": "clear"}]}
    messages = read(Q, turn, result, {**A, "content": [call]}, result, A).messages
    assert (messages[1].content, messages[1].extra) == ("Wait.", (("reasoning_content", "r"),))
    assert [len(message.tool_calls) for message in messages] == [0, 1, 0, 1, 0, 0]
    assert (messages[2].content, messages[3].content) == ("clear", "")


@pytest.mark.parametrize("tools", [" ", "", "null", "[]", None])
def test_a_blank_cell_of_tools_has_none(tools: str | None) -> None:
    assert read(Q, A, tools=tools).tools == ()


def test_a_call_that_is_not_learned_stays_a_turn_for_itself() -> None:
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}', "loss": False}
    example = read(Q, {**A, "content": "wait"}, call, {"role": "tool", "content": "r"}, A)
    assert [turn.weight for turn in example.messages if turn.role == "assistant"] == [1, 0, 1]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_are_read_under_a_single_name(key: str) -> None:
    assert dict(read(Q, {**A, key: "r"}).messages[1].extra) == {"reasoning_content": "r"}


def test_thoughts_in_a_part_are_read_as_thoughts() -> None:
    parts = [{"type": "thinking", "thinking": "r", "signature": "x"}, text("a")]
    turn = read(Q, {**A, "content": parts}).messages[1]
    assert (turn.content, dict(turn.extra)) == ("a", {"reasoning_content": "r"})


def test_rows_with_turns_after_the_last_answer_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": [Q, A, Q]}, {"messages": [Q, A]})
    checked = check_rows(source(path), stage="sft", max_bad_rows=0)
    assert "1 row has turns after the last answer, which are cut off" in checked.summary()


@pytest.mark.parametrize("after", [[Q], [Q, Q], [{"role": "tool", "content": "r"}], [S]])
def test_turns_after_the_last_answer_are_cut_off_and_counted(after: list[Any]) -> None:
    example = read(Q, A, *after)
    assert (turns(example), example.cut) == (QA, len(after))


def test_turns_after_the_answers_of_a_pair_are_cut_off_and_counted() -> None:
    row = {"prompt": [Q], "chosen": [A, Q], "rejected": [{**A, "content": "b"}, Q]}
    example = read_row(row, "dpo")[1]
    assert (len(example.messages), len(example.rejected), example.cut) == (2, 2, 2)


def test_nulls_of_a_tool_schema_are_left_out() -> None:
    schema = {"type": "object", "properties": {"c": {"type": "string", "enum": None}, "d": None}}
    example = read(Q, A, tools=[{"name": "w", "description": None, "parameters": schema}])
    (tool,) = example.tools
    assert tool["function"] == {
        "name": "w",
        "parameters": {"type": "object", "properties": {"c": {"type": "string"}}},
    }


HOSTILE: dict[str, tuple[list[Any], str]] = {
    "a picture": ([{**Q, "content": [{"type": "image_url", "image_url": {}}]}, A], "image_url"),
    "an unknown part": ([{**Q, "content": [{"type": "tool_use", "input": {}}]}, A], "tool_use"),
    "a part of a number": ([{**Q, "content": [5]}, A], "(got a part: number)"),
    "a part of null": ([{**Q, "content": [text("x"), {"type": "text"}]}, A], "(got a part: obj"),
    "an empty list of parts": ([{**Q, "content": []}, A], "content should be text (got list)"),
    "an answer of an object": ([Q, {**A, "content": {"a": 1}}], "should be text (got object)"),
    "blank parts": ([{**Q, "content": [text(" ")]}, A], "the user turn is empty"),
    "a role of spaces": ([{**Q, "role": "  "}, A], "role should be one of"),
    "a role that is a list": ([{**Q, "role": ["user"]}, A], "role should be one of"),
    "a null role": ([{"role": None, "content": "q"}, A], "has neither role nor from"),
    "texts and turns mixed": (["q", A], "message 1 should be an object (got string)"),
    "texts with an empty answer": (["q", ""], "message 2: the answer is empty"),
    "a pair of nothing": ([{"input": "", "output": ""}], "the answer is empty"),
    "a pair of numbers": ([{"input": 1, "output": 2}], "input should be text"),
    "two different thoughts": ([Q, {**A, "reasoning": "x", "thinking": "y"}], "different thoughts"),
    "thoughts of a number": ([Q, {**A, "thinking": 3}], "thinking should be text"),
    "a result first": ([{"role": "tool", "content": "r"}, Q, A], "without a preceding tool call"),
    "a result after a question": ([Q, {"role": "tool", "content": "r"}, A], "without a preceding"),
    "calls that are none": ([Q, {"role": "tool_call", "content": "[1]"}, A], "a function with"),
    "a question after a greeting": ([A, Q], "has no user turn"),
    "only answers": ([A, A], "has no user turn"),
    "only a system text": ([S], "has no assistant turn"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_turns_that_say_nothing_are_refused_with_a_reason(name: str) -> None:
    messages, expected = HOSTILE[name]
    assert expected in reason(*messages)
