"""What each row format accepts and refuses beyond its plain form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, complaints, examples, turns, write

from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import FORMATS, detect, read_row

CALL = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
QA = [("user", "q"), ("assistant", "a")]


def read(row: dict[str, Any], stage: str = "sft") -> Example:
    return read_row(row, stage)[1]


def reason(row: dict[str, Any], stage: str = "sft") -> str:
    with pytest.raises(RowError) as caught:
        read_row(row, stage)
    return caught.value.reason


@pytest.mark.parametrize(
    ("columns", "stage", "name"),
    [
        ({"messages", "id"}, "sft", "messages"),
        ({"conversations", "system"}, "sft", "sharegpt"),
        ({"instruction", "input", "output"}, "sft", "alpaca"),
        ({"problem", "completion"}, "sft", "query-response"),
        ({"messages", "text"}, "sft", "messages"),
        ({"messages", "text"}, "pt", "text"),
    ],
)
def test_the_format_is_seen_from_the_columns(columns: set[str], stage: str, name: str) -> None:
    assert detect(frozenset(columns), stage).name == name


def test_format_names_are_unique_and_each_serves_a_stage() -> None:
    assert len({row_format.name for row_format in FORMATS}) == len(FORMATS)
    assert all(row_format.stages for row_format in FORMATS)


HARMLESS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "null system": ({"instruction": "q", "output": "a", "system": None, "input": None}, QA),
    "null history": ({"query": "q", "response": "a", "history": None}, QA),
    "empty tools": ({"messages": [Q, A], "tools": []}, QA),
    "empty images": ({"messages": [Q, A], "images": []}, QA),
    "null system message": ({"messages": [{"role": "system", "content": None}, Q, A]}, QA),
    "a system column": ({"messages": [Q, A], "system": "s"}, [("system", "s"), *QA]),
    "the same system twice": (
        {"messages": [{"role": "system", "content": "s"}, Q, A], "system": "s"},
        [("system", "s"), *QA],
    ),
    "roles in conversations": ({"conversations": [Q, A]}, QA),
    "from in messages": ({"messages": [HUMAN, GPT]}, QA),
    "a null synonym": ({"prompt": None, "query": "q", "response": "a"}, QA),
    "only an input": ({"instruction": "", "input": "q", "output": "a"}, QA),
    "two questions in a row": ({"messages": [Q, Q, A]}, [("user", "q"), *QA]),
    "a list in JSON": (
        {"messages": '[{"role":"user","content":"q"},{"from":"gpt","value":"a"}]'},
        QA,
    ),
    "text is not changed": (
        {"query": " q\n", "response": "  a"},
        [("user", " q\n"), ("assistant", "  a")],
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_variants_are_read(name: str) -> None:
    row, expected = HARMLESS[name]
    assert turns(read(row)) == expected


def test_calls_written_as_json_text_become_tool_calls() -> None:
    call = '{"name": "f", "arguments": {"x": 1}}'
    rows = [
        [HUMAN, {"from": "function_call", "value": call}, {"from": "observation", "value": "1"}],
        [Q, {"role": "tool_call", "content": call}, {"role": "tool_response", "content": "1"}],
        [Q, {"role": "assistant", "content": None, "function_call": CALL["function"]},
         {"role": "function", "content": "1"}],
    ]  # fmt: skip
    for turns_of_row in rows:
        example = read({"messages": [*turns_of_row, A]})
        assert [turn.role for turn in example.messages] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        (call,) = example.messages[1].to_dict()["tool_calls"]
        assert call == {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


def test_templates_get_the_arguments_of_a_call_as_an_object() -> None:
    example = read({"messages": [Q, {"role": "assistant", "content": "", "tool_calls": [CALL]}]})
    calls = example.messages[1].to_dict()["tool_calls"]
    assert calls == [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    assert example.messages[1].tool_calls == (CALL,)


def test_a_bare_function_among_the_tools_gets_its_wrapping() -> None:
    bare = {"name": "f", "parameters": {}}
    for tools in ([bare], '[{"name": "f", "parameters": {}}]'):
        example = read({"conversations": [HUMAN, GPT], "tools": tools})
        assert example.tools == ({"type": "function", "function": bare},)


def test_further_keys_that_templates_read_are_kept() -> None:
    answer = {**A, "reasoning_content": "r", "name": None}
    example = read({"messages": [Q, answer]})
    assert example.messages[1].to_dict() == {**A, "reasoning_content": "r"}


def call(**changes: Any) -> dict[str, Any]:
    return {"messages": [Q, {"role": "assistant", "content": "", **changes}]}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a message that is none": (
        {"messages": ["q", A]},
        "message 1 should be an object (got string)",
    ),
    "no role": ({"messages": [{"content": "q"}, A]}, "message 1 has neither role nor from"),
    "role no text": (
        {"messages": [{"role": ["user"], "content": "q"}, A]},
        "role should be one of",
    ),
    "null content": ({"messages": [{"role": "user", "content": None}, A]}, "(got null)"),
    "content in parts": ({"messages": [{"role": "user", "content": []}, A]}, "(got list)"),
    "silent user": (
        {"messages": [{"role": "user", "content": " "}, A]},
        "message 1: the user turn is empty",
    ),
    "null answer": (
        {"messages": [Q, {"role": "assistant", "content": None}]},
        "content should be text",
    ),
    "empty gpt": (
        {"conversations": [HUMAN, {"from": "gpt", "value": ""}]},
        "message 2: the answer is empty",
    ),
    "tool first": (
        {"messages": [{"role": "tool", "content": "1"}, Q, A]},
        "message 1: a tool result without a preceding tool call",
    ),
    "tool uncalled": (
        {"messages": [Q, {"role": "tool", "content": "1"}, A]},
        "message 2: a tool result without a preceding tool call",
    ),
    "two systems": (
        {"conversations": [{"from": "system", "value": "s"}, HUMAN, GPT], "system": "t"},
        "two different system texts",
    ),
    "system no text": ({"query": "q", "response": "a", "system": 1}, "system should be text"),
    "calls no list": (call(tool_calls=5), "tool_calls should be a list (got number)"),
    "calls in a word": (call(tool_calls="abc"), "tool_calls should be a list (got string)"),
    "call without a name": (call(tool_calls=[{"function": {}}]), "a function with a name"),
    "call in pieces": (
        call(tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),
        "the arguments of f should be a JSON object",
    ),
    "a call that is not JSON": (
        {"conversations": [HUMAN, {"from": "function_call", "value": "f(1)"}]},
        "a function with a name",
    ),
    "tools no list": ({"messages": [Q, A], "tools": "f"}, "tools should be a list (got string)"),
    "tool no function": ({"messages": [Q, A], "tools": [1]}, "tool 1 should be a function"),
    "reasoning no text": (
        {"messages": [Q, {**A, "reasoning_content": 1}]},
        "reasoning_content should be text",
    ),
    "images": ({"messages": [Q, A], "images": ["a.png"]}, "has images"),
    "history no list": ({"query": "q", "response": "a", "history": 5}, "history should be a list"),
    "history of three": (
        {"query": "q", "response": "a", "history": [["a", "b", "c"]]},
        "history 1",
    ),
    "empty history answer": ({"query": "q", "response": "a", "history": [["h", ""]]}, "history 1"),
    "nothing asked": ({"instruction": "", "input": "", "output": "a"}, "instruction is empty"),
    "input no text": ({"instruction": "q", "input": [1], "output": "a"}, "input should be text"),
    "null answers": ({"query": "q", "response": None}, "response should be text (got null)"),
    "list in broken JSON": ({"messages": "[{"}, "messages is not JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_untrainable_rows_are_refused_with_a_reason(name: str) -> None:
    row, expected = BROKEN[name]
    assert expected in reason(row)


@pytest.mark.parametrize(
    ("row", "stage", "expected"),
    [
        ({"mesages": []}, "sft", "(columns: {mesages: messages} renames one)"),
        ({"query": "q", "id": 1}, "sft", "query-response rows also need one of: response, answer"),
        ({"instruction": "q"}, "sft", "alpaca rows also need one of: output"),
        (
            {"a": 1},
            "sft",
            "reads messages | conversations | instruction + output | query + response",
        ),
        ({"a": 1}, "pt", "(stage: pt reads text)"),
        ({"input": "q", "history": []}, "sft", "stage: sft reads messages"),
        ({}, "sft", "no known format in: -"),
        ({"messages": [Q, A]}, "pt", "messages rows are for stage: sft or gkd, not pt"),
        ({"text": "x"}, "sft", "text rows are for stage: pt, not sft"),
    ],
)
def test_columns_of_no_format_name_the_nearest(
    row: dict[str, Any], stage: str, expected: str
) -> None:
    assert expected in reason(row, stage)


@pytest.mark.parametrize(("value", "expected"), [(" ", "text is empty"), (None, "got null")])
def test_a_value_that_is_not_text_is_refused(value: Any, expected: str) -> None:
    assert expected in reason({"text": value}, "pt")


def test_every_reason_is_in_chinese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    reasons = [reason(row) for row, _ in BROKEN.values()]
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in reasons)


def test_a_renamed_column_takes_the_place_of_its_namesake(tmp_path: Path) -> None:
    row = {"query": "mine", "question": "theirs", "response": "a"}
    for ordered in (row, dict(reversed(row.items()))):
        path = write(tmp_path / "a.jsonl", ordered)
        (example,) = examples(path, question="query")
        assert turns(example)[0] == ("user", "theirs")


def test_an_unknown_role_is_reported_in_chinese_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    path = write(tmp_path / "a.jsonl", {"messages": [{"role": "nobody", "content": "x"}, A]})
    (line,) = complaints(path)
    assert line.startswith("a.jsonl:1 第 1 条消息：role 应为 ")
