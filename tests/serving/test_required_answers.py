"""Answers of a required form: every one parses, validates, and disturbs no other request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai import BadRequestError, OpenAI
from own_server import Server, serving
from random_schemas import random_schema
from transformers import AutoTokenizer

from swiftbox.core.generation.constraints import compile_schema
from swiftbox.serving.requests import ChatRequest
from swiftbox.serving.required_answers import RequiredCallReader, required_answer
from swiftbox.templates.call_formats.answer_reader import AnswerParts

SCHEMAS = 100
MOVE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "move",
        "parameters": {
            "type": "object",
            "properties": {"to": {"enum": ["sea", "hill"]}, "by": {"$ref": "#/$defs/steps"}},
            "required": ["to", "by"],
            "additionalProperties": False,
            "$defs": {"steps": {"type": "integer", "minimum": 1, "maximum": 20}},
        },
    },
}
WAIT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "wait",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    with serving(tiny, tools_in_prompt=True) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with server.client() as official:
        yield official


def chat(client: OpenAI, **keys: Any) -> Any:
    messages = [{"role": "user", "content": "hi"}]
    settings = {"model": "tiny", "messages": messages, "max_tokens": 900, "temperature": 1, **keys}
    return client.chat.completions.create(**settings)


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_every_answer_follows_its_schema_and_free_answers_are_the_same(client: OpenAI) -> None:
    free_keys = {"seed": 4, "max_tokens": 60, "extra_body": {"ignore_eos": True}}
    alone = chat(client, **free_keys).choices[0].message.content

    def constrained(seed: int) -> Any:
        format_ = schema_format(random_schema(seed))
        return chat(client, response_format=format_, seed=seed).choices[0]

    def answer(number: int) -> Any:
        if number % 5 == 4:
            return chat(client, **free_keys).choices[0].message.content
        return constrained(number)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(answer, range(SCHEMAS * 5 // 4)))
    choices = [(seed, choice) for seed, choice in enumerate(answers) if seed % 5 != 4]
    assert len(choices) == SCHEMAS
    for seed, choice in choices:
        assert choice.finish_reason == "stop", (seed, choice)
        content = json.loads(choice.message.content)
        Draft202012Validator(random_schema(seed)).validate(content)
    assert set(answers[4::5]) == {alone}


def test_a_stream_has_the_same_answer(client: OpenAI) -> None:
    keys = {"response_format": schema_format(random_schema(7)), "seed": 7, "n": 2}
    complete = [choice.message.content for choice in chat(client, **keys).choices]
    streamed = ["", ""]
    for part in chat(client, stream=True, **keys):
        for choice in part.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == complete
    assert [choice for choice in complete if json.loads(choice)] == complete


def test_json_mode_answers_an_object_until_max_tokens(client: OpenAI) -> None:
    choice = chat(client, response_format={"type": "json_object"}, max_tokens=3, seed=1).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.content.startswith("{")


def test_an_answer_ends_with_its_json_though_ends_are_ignored(client: OpenAI) -> None:
    format_ = schema_format({"enum": ["a", "b"]})
    choice = chat(client, response_format=format_, extra_body={"ignore_eos": True}).choices[0]
    assert choice.finish_reason == "stop"
    assert json.loads(choice.message.content) in ("a", "b")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_required_call_is_called(named: bool, stream: bool, client: OpenAI) -> None:
    name = {"type": "function", "function": {"name": "move"}}
    choice = name if named else "required"
    keys = {"tools": [MOVE, WAIT], "tool_choice": choice, "max_tokens": 200}
    seen = set()
    for seed in range(3):
        answer = chat(client, stream=stream, seed=seed, **keys)
        parts = [part.choices[0] for part in answer] if stream else [answer.choices[0]]
        deltas = [part.delta if stream else part.message for part in parts]
        assert parts[-1].finish_reason == "tool_calls"
        assert not any(delta.content for delta in deltas)
        (call,) = [call for delta in deltas for call in delta.tool_calls or []]
        seen.add(call.function.name)
        arguments = json.loads(call.function.arguments)
        tool = MOVE if call.function.name == "move" else WAIT
        Draft202012Validator(tool["function"]["parameters"]).validate(arguments)
    assert seen == {"move"} if named else seen <= {"move", "wait"}


def test_a_call_that_is_cut_off_is_content(client: OpenAI) -> None:
    answer = chat(client, tools=[MOVE], tool_choice="required", max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content.startswith("{")


TREE = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
TREE_CALLS = {
    '{"name": "tree", "arguments": {"next": {"next": {}}}}': True,
    '{"name": "tree", "arguments": {"next": {"name": "tree", "arguments": {}}}}': False,
    '{"name": "move", "arguments": {"to": "sea", "by": 3}}': True,
    '{"name": "move", "arguments": {"to": "sea", "by": 30}}': False,
    '{"name": "mark", "arguments": {"by": "#/$defs/steps"}}': True,
}


@pytest.mark.parametrize("call", TREE_CALLS)
def test_references_of_a_tool_stay_inside_its_schema(call: str, tiny: Path) -> None:
    mark = {"type": "object", "properties": {"by": {"enum": ["#/$defs/steps"]}}}
    tools = [MOVE] + [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in (("tree", TREE), ("mark", mark))
    ]
    messages = [{"role": "user", "content": "hi"}]
    content = {"model": "m", "messages": messages, "tools": tools, "tool_choice": "required"}
    required = required_answer(ChatRequest.model_validate(content))
    assert required is not None
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ends = frozenset({tokenizer.eos_token_id})
    constraint = compile_schema(required.schema, tokenizer, len(tokenizer), ends).start()
    for token in tokenizer(call).input_ids:
        constraint.add(token)
    assert (not constraint.failure) is TREE_CALLS[call]


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "1e999", "1", '{"a": '])
def test_arguments_that_no_client_could_read_are_content(value: str) -> None:
    reader = RequiredCallReader("move", None)
    answer = f'{{"to": {value}}}' if value != "1" else value
    reader.feed(answer)
    assert reader.finish() == AnswerParts(content=answer)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "properties": {"a": {"if": {}, "then": {}}}}, "if, then"),
        ({"type": "string", "format": "weird"}, "format: weird"),
        ({"type": "text"}, "type: text"),
        ({"$ref": "http://example.com/a"}, "http://example.com/a"),
        ({"type": "string", "pattern": "(?=a)"}, "look-ahead"),
        ({"type": "object", "properties": {"a": 5}}, "object or boolean"),
    ],
)
def test_an_unsupported_schema_is_refused_with_its_keyword(
    schema: Any, keyword: str, client: OpenAI
) -> None:
    with pytest.raises(BadRequestError, match="the schema is not supported") as caught:
        chat(client, response_format=schema_format(schema))
    assert keyword in caught.value.message
    assert caught.value.param == "response_format"
