"""Calls of every format by the official client: whole and streamed, as the model wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from call_answers import FULL, SHORT, TOOLS, WRITTEN
from call_templates import TEMPLATES, call_tokenizers
from forced_server import ForcedServer, answering, tokenizer_with
from openai import BadRequestError
from template_rows import wheel_source

from swiftbox.serving.rendering import running_renderer
from swiftbox.templates.call_formats.table import FORMATS

THINK = {"gemma4": ("<|channel>thought\n", "\n<channel|>")}

CALLS = [("weather", FULL), ("ping", {})]
USER = [{"role": "user", "content": "How is it?"}]

every_format = pytest.mark.parametrize("name", WRITTEN)


@pytest.fixture(scope="module")
def server() -> Iterator[ForcedServer]:
    with answering(call_tokenizers()) as running:
        yield running


def test_every_format_has_a_template() -> None:
    assert set(TEMPLATES) == set(FORMATS)


def request(name: str, **keys: Any) -> dict[str, Any]:
    return {"model": WRITTEN[name].format, "messages": USER, "tools": TOOLS, **keys}


def collected(choices: list[Any]) -> dict[str, Any]:
    """Return the message that a stream builds; each call is announced once, with its index."""
    calls: dict[int, dict[str, Any]] = {}
    for choice in choices:
        for piece in choice.delta.tool_calls or []:
            if piece.index not in calls:
                assert piece.id
                assert piece.type == "function"
                calls[piece.index] = {"name": piece.function.name, "arguments": ""}
            else:
                assert piece.function.name is None
            calls[piece.index]["arguments"] += piece.function.arguments
    assert list(calls) == list(range(len(calls)))
    (finish,) = [choice.finish_reason for choice in choices if choice.finish_reason]
    reasoning = [getattr(choice.delta, "reasoning_content", "") or "" for choice in choices]
    return {
        "content": "".join(choice.delta.content or "" for choice in choices),
        "reasoning": "".join(reasoning),
        "calls": [(call["name"], json.loads(call["arguments"])) for call in calls.values()],
        "finish": finish,
    }


def answered(server: ForcedServer, text: str, **keys: Any) -> dict[str, Any]:
    """Return what the client gets; the same whole and streamed."""
    choice = server.ask(text, **keys)
    message = choice.message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    complete = {
        "content": message.content or "",
        "reasoning": getattr(message, "reasoning_content", ""),
        "calls": [(name, json.loads(arguments)) for name, arguments in calls],
        "finish": choice.finish_reason,
    }
    assert (message.content is None) == bool(calls and not complete["content"])
    assert collected(server.stream(text, **keys)) == complete
    return complete


def result(
    content: str = "", reasoning: str = "", calls: list[Any] | None = None
) -> dict[str, Any]:
    finish = "tool_calls" if calls else "stop"
    return {"content": content, "reasoning": reasoning, "calls": calls or [], "finish": finish}


@every_format
def test_a_call_is_a_tool_call_for_the_client(name: str, server: ForcedServer) -> None:
    text = WRITTEN[name].calls(("weather", FULL))
    assert answered(server, text, **request(name)) == result(calls=[("weather", FULL)])


@every_format
def test_parallel_calls_have_their_own_ids(name: str, server: ForcedServer) -> None:
    text = WRITTEN[name].calls(*CALLS)
    if name == "harmony":  # generation stops at the end of a call
        text = text.replace("<|call|>", "<|end|>")
    assert answered(server, text, **request(name)) == result(calls=CALLS)
    calls = server.ask(text, **request(name)).message.tool_calls
    assert len({call.id for call in calls}) == 2 or name == "mistral"
    single = answered(server, text, **request(name, parallel_tool_calls=False))
    assert single == result(calls=CALLS[:1])


@every_format
def test_text_before_a_call_is_the_content(name: str, server: ForcedServer) -> None:
    written = WRITTEN[name]
    text = written.text("I look.") + written.calls(("ping", {}))
    assert answered(server, text, **request(name)) == result("I look.", "", [("ping", {})])


@every_format
def test_reasoning_is_returned_beside_a_call_and_holds_none(
    name: str, server: ForcedServer
) -> None:
    written = WRITTEN[name]
    call = written.calls(("ping", {}))
    opening, closing = THINK.get(written.format, ("<think>\n", "\n</think>\n\n"))
    inner = "Hm."
    if written.format == "harmony":
        text = f"<|channel|>analysis<|message|>{inner}<|end|>{call}"
    else:
        inner = f"Hm.\n{call}\nNo."
        text = f"{opening}{inner}{closing}{call}"
    assert answered(server, text, **request(name)) == result("", inner, [("ping", {})])


@every_format
def test_malformed_calls_are_content(name: str, server: ForcedServer) -> None:
    written = WRITTEN[name]
    for text in filter(lambda text: len(text) < 500, written.malformed):
        expected = text
        if written.format == "harmony":
            expected = text.replace("<|call|>", "")
        assert answered(server, text, **request(name)) == result(expected)


@every_format
def test_a_call_and_its_result_are_accepted_as_the_client_returns_them(
    name: str, server: ForcedServer
) -> None:
    message = server.ask(WRITTEN[name].calls(("weather", SHORT)), **request(name)).message
    reply = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "22 degrees"}
    answer = server.ask("Warm.", **request(name, messages=[*USER, message, reply]))
    assert answer.finish_reason == "stop"
    assert re.search(r"weather.*Paris.*22 degrees", server.scheduler.prompt, re.DOTALL)


def test_a_mistral_template_gets_short_ids_whatever_the_client_has(server: ForcedServer) -> None:
    call = {"id": "call_0123456789", "type": "function", "function": {"name": "ping"}}
    call["function"]["arguments"] = "{}"
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    reply = {"role": "tool", "tool_call_id": call["id"], "content": "pong"}
    server.ask("Yes.", **request("mistral", messages=[*USER, turn, reply]))
    first, second = re.search(
        r'"id": "(\w{9})".*TOOL_RESULTS\] (\w+) pong', server.scheduler.prompt
    ).groups()
    assert first == second
    assert re.fullmatch(
        r"\w{9}",
        server.ask(WRITTEN["mistral 11"].calls(("ping", {})), **request("mistral"))
        .message.tool_calls[0]
        .id,
    )


def test_the_prompt_may_open_the_reasoning(server: ForcedServer) -> None:
    keys = request("deepseek", extra_body={"chat_template_kwargs": {"thinking": True}})
    text = f"Hm.</think>Yes.{WRITTEN['deepseek'].calls(('ping', {}))}"
    assert answered(server, text, **keys) == result("Yes.", "Hm.", [("ping", {})])
    assert answered(server, "Hm. And", **keys) == result("", "Hm. And")


def test_reasoning_is_split_without_tools_and_calls_are_not_read(server: ForcedServer) -> None:
    keys = {"model": "hermes", "messages": USER}
    call = WRITTEN["hermes"].calls(("ping", {}))
    assert answered(server, f"<think>\nHm.\n</think>\n\n{call}", **keys) == result(call, "Hm.")
    keys |= {"tools": TOOLS, "tool_choice": "none"}
    assert answered(server, call, **keys) == result(call)


def test_channels_are_read_without_tools(server: ForcedServer) -> None:
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi."
        "<|return|>"
    )
    keys = {"model": "harmony", "messages": USER}
    assert answered(server, text, **keys) == result("Hi.", "Hm.")


def test_tools_that_the_template_does_not_render_are_refused(server: ForcedServer) -> None:
    with pytest.raises(BadRequestError, match="tools_in_prompt: true") as caught:
        server.ask("Hi.", model="base", messages=USER, tools=TOOLS)
    assert caught.value.param == "tools"


def test_tools_in_the_prompt_are_described_and_read() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    keys = {"model": "base", "tools": TOOLS}
    with answering({"": tokenizer_with(template, [])}, tools_in_prompt=True) as server:
        talk = [{"role": "developer", "content": "Be brief."}, *USER]
        text = f"I look.\n{WRITTEN['hermes'].calls(*CALLS)}"
        expected = result("I look.", "", CALLS)
        assert answered(server, text, messages=talk, **keys) == expected
        assert server.scheduler.prompt.startswith("system: Be brief.\n\n")
        assert json.dumps(TOOLS[0], ensure_ascii=False) in server.scheduler.prompt
        message = server.ask(text, messages=USER, **keys).message
        replies = [
            {"role": "tool", "tool_call_id": call.id, "content": f"result {index}"}
            for index, call in enumerate(message.tool_calls)
        ]
        server.ask("Warm.", messages=[*USER, message, *replies], **keys)
    history = server.scheduler.prompt[server.scheduler.prompt.index("assistant: ") :]
    assert history == (
        f"assistant: I look.\n{WRITTEN['hermes'].calls(*CALLS)}\n"
        "user: <tool_response>\nresult 0\n</tool_response>\n"
        "<tool_response>\nresult 1\n</tool_response>\n"
    )


def test_reasoning_effort_reaches_the_templates_that_read_it(server: ForcedServer) -> None:
    server.ask("Hi.", model="harmony", messages=USER, reasoning_effort="high")
    assert "Reasoning: high" in server.scheduler.prompt
    with pytest.raises(BadRequestError, match="chat_template_kwargs") as caught:
        server.ask("Hi.", model="hermes", messages=USER, reasoning_effort="high")
    assert caught.value.param == "reasoning_effort"


def test_a_template_with_an_unknown_form_of_calls_is_reported_at_the_start() -> None:
    known, unknown = wheel_source("qwen3"), wheel_source("muse_glimmer")
    with running_renderer() as renderer:
        assert renderer.has_unknown_calls(unknown, {})
        assert not renderer.has_unknown_calls(known, {})
        assert not renderer.has_unknown_calls("{{ messages[0].content }}", {})
        assert not renderer.has_unknown_calls("{{ raise_exception('no') }}", {})


def test_legacy_calls_in_messages_are_refused_by_name(server: ForcedServer) -> None:
    turn = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    with pytest.raises(BadRequestError, match=r"messages\[1\]\.function_call"):
        server.ask("Hi.", model="hermes", messages=[*USER, turn, *USER])
