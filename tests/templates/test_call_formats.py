"""Calls, reasoning and content are separated in every format, whatever pieces they arrive in."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from call_answers import FULL, SHORT, TOOLS, WRITTEN, Written

from swiftbox.templates.call_formats.table import FORMATS, AnswerForm

SIZES = (1, 3, 17, 10_000)
CALLS = [("weather", FULL), ("ping", {}), ("weather", SHORT)]

every_format = pytest.mark.parametrize("name", WRITTEN)


def read(
    text: str, form: AnswerForm, size: int, tools: list[Any] | None = TOOLS, **keys: Any
) -> tuple[str, str, list[tuple[str, dict[str, Any]]]]:
    """Return reasoning, content and calls of a text that arrives in pieces."""
    reader = form.reader(tools, **keys)
    parts = [reader.feed(text[start : start + size]) for start in range(0, len(text), size)]
    parts.append(reader.finish())
    calls = [(call.name, dict(call.arguments)) for part in parts for call in part.calls]
    return (
        "".join(part.reasoning for part in parts),
        "".join(part.content for part in parts),
        calls,
    )


def same_in_all_sizes(text: str, form: AnswerForm, **keys: Any) -> Any:
    results = [read(text, form, size, **keys) for size in SIZES]
    assert all(result == results[0] for result in results), results
    return results[0]


def thought(written: Written, reasoning: str) -> str:
    if written.format == "harmony":
        return f"<|channel|>analysis<|message|>{reasoning}<|end|>"
    return f"<think>\n{reasoning}\n</think>\n\n"


def test_every_row_of_the_table_is_tested() -> None:
    assert {written.format for written in WRITTEN.values()} == set(FORMATS)


@every_format
def test_a_call_is_read_with_typed_arguments(name: str) -> None:
    written = WRITTEN[name]
    result = same_in_all_sizes(written.calls(("weather", FULL)), written.form)
    assert result == ("", "", [("weather", FULL)])


@every_format
def test_parallel_calls_are_read_in_order(name: str) -> None:
    written = WRITTEN[name]
    assert same_in_all_sizes(written.calls(*CALLS), written.form) == ("", "", CALLS)


@every_format
def test_text_before_a_call_is_content(name: str) -> None:
    written = WRITTEN[name]
    text = written.text("I look {it} up.") + written.calls(*CALLS)
    assert same_in_all_sizes(text, written.form) == ("", "I look {it} up.", CALLS)


@every_format
def test_calls_are_not_read_inside_reasoning(name: str) -> None:
    written = WRITTEN[name]
    inner = "Perhaps so."
    if written.format != "harmony":  # its messages cannot be nested
        inner += f"\n{written.calls(*CALLS)}\nNo."
    text = thought(written, inner) + written.calls(("ping", {}))
    assert same_in_all_sizes(text, written.form) == (inner, "", [("ping", {})])


@every_format
def test_only_the_first_call_is_read_if_a_single_one_is_allowed(name: str) -> None:
    written = WRITTEN[name]
    text = written.calls(*CALLS)
    assert same_in_all_sizes(text, written.form, is_single=True) == ("", "", CALLS[:1])


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, row in WRITTEN.items() for text in row.malformed]
)
def test_text_that_only_resembles_a_call_is_content(name: str, text: str) -> None:
    written = WRITTEN[name]
    assert same_in_all_sizes(text, written.form) == ("", text, [])
    after = same_in_all_sizes(f"Well.\n\n{text}", written.form)
    if written.format != "harmony":
        assert after == ("", f"Well.\n\n{text}", [])


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, row in WRITTEN.items() for text in row.malformed if text[-2:] == "on"],
)
def test_a_call_after_a_malformed_one_is_read(name: str, text: str) -> None:
    written = WRITTEN[name]
    result = same_in_all_sizes(f"{text}\n{written.calls(('ping', {}))}", written.form)
    assert result == ("", text, [("ping", {})])


@every_format
def test_calls_stay_text_without_tools(name: str) -> None:
    written = WRITTEN[name]
    text = written.calls(*CALLS)
    _, content, calls = same_in_all_sizes(text, written.form, tools=None)
    assert calls == []
    assert written.format == "harmony" or content == text


@every_format
def test_an_answer_without_marks_is_unchanged(name: str) -> None:
    form = WRITTEN[name].form
    text = ' \n One < two,\n\n\t[{"a": 1}] and so on.  \n'
    assert same_in_all_sizes(text, form) == ("", text, [])


@pytest.mark.parametrize("opened", [True, False])
def test_reasoning_that_the_prompt_opens_ends_at_its_mark(opened: bool) -> None:
    form = AnswerForm(("hermes",), prefix="<think>" if opened else "")
    text = f"{'' if opened else '<think>'}\nHm.\n</think>\n\nYes.\n"
    assert same_in_all_sizes(text, form) == ("Hm.", "Yes.\n", [])
    assert same_in_all_sizes("<think>\nHm.\n</think>\n\nYes.\n", form) == ("Hm.", "Yes.\n", [])


def test_reasoning_without_an_end_is_reasoning() -> None:
    form = AnswerForm(("hermes",), prefix="<think>")
    text = f"Hm. {WRITTEN['hermes'].calls(*CALLS)}"
    assert same_in_all_sizes(text, form) == (text, "", [])


def test_the_marks_of_a_template_are_those_of_its_reasoning() -> None:
    form = AnswerForm((), ("<|channel>thought", "<channel|>"))
    text = "<|channel>thought\nHm.\n<channel|>Yes."
    assert same_in_all_sizes(text, form) == ("Hm.", "Yes.", [])


def test_the_channels_of_harmony_are_separated() -> None:
    form = AnswerForm(("harmony",), prefix="<|start|>assistant")
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant to=functions.weather<|channel|>commentary json"
        '<|message|>{"city": "Paris"}<|call|>'
    )
    assert same_in_all_sizes(text, form) == ("Hm.", "I look.", [("weather", SHORT)])
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi"
    assert same_in_all_sizes(text, form) == ("Hm.", "Hi", [])


def test_arguments_with_half_a_surrogate_pair_can_be_sent() -> None:
    from swiftbox.templates.call_formats.arguments import arguments_text

    text = '<tool_call>{"name": "ping", "arguments": {"a": "\\ud800"}}'
    _, _, calls = read(text, AnswerForm(("hermes",)), 9)
    assert json.loads(arguments_text(calls[0][1]).encode()) == {"a": "\ud800"}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "75001", "75001"),
        ({"type": "string"}, "true", "true"),
        ({"type": "string"}, '{"a": 1}', '{"a": 1}'),
        ({"type": "integer"}, "75001", 75001),
        ({"type": "integer"}, "3.0", 3),
        ({"type": "integer"}, "many", "many"),
        ({"type": "integer"}, "9" * 5000, "9" * 5000),
        ({"type": "number"}, "2.50", 2.5),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "1", "1"),
        ({"type": "array"}, "['a', None]", ["a", None]),
        ({"type": "array"}, "a, b", "a, b"),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "5", "5"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"$ref": "#/$defs/count"}, "5", 5),
        ({"$ref": "#/$defs/loop"}, "5", "5"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({}, "5", "5"),
        ("broken", "5", "5"),
    ],
)
def test_values_between_tags_have_the_type_of_the_schema(
    schema: Any, text: str, value: Any
) -> None:
    definitions = {"count": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}}
    parameters = {"properties": {"at": schema}, "$defs": definitions}
    tools = [{"function": {"name": "f", "parameters": parameters}}]
    for name, call in (("qwen3_coder", WRITTEN["qwen3_coder"]), ("glm", WRITTEN["glm"])):
        result = read(call.calls(("f", {"at": text})), AnswerForm((name,)), 100, tools)
        assert result == ("", "", [("f", {"at": value})])
        assert type(result[2][0][1]["at"]) is type(value)


def test_no_text_is_lost_and_nothing_crashes_on_random_marks() -> None:
    numbers = random.Random(5)
    for name, written in WRITTEN.items():
        call = written.calls(("weather", FULL))
        cuts = sorted(numbers.sample(range(1, len(call)), min(12, len(call) - 1)))
        pieces = [call[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
        for _ in range(12):
            text = "".join(numbers.choices([*pieces, "x ", "\n", "<think>", "</think>"], k=9))
            results = [read(text, written.form, size) for size in (1, 7, 1000)]
            assert results[0] == results[1] == results[2], (name, text)
            if not results[0][2] and "think" not in text and written.format != "harmony":
                assert results[0][1] == text


def test_marks_without_end_take_time_in_proportion_to_their_length() -> None:
    for mark in ('<tool_call>{"a": ', "<tool_call><function=f>", "<tool_call>f<arg_key>"):
        for name in ("hermes", "qwen3_coder", "glm"):
            text = mark * 2000
            started = time.process_time()
            assert read(text, AnswerForm((name,)), 50_000) == ("", text, [])
            assert time.process_time() - started < 5
