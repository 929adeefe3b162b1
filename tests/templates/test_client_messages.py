"""What the server renders for a client is what the training rendered before the same answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from template_rows import SPECIAL, server_prompt, wheel_names, wheel_source, wheel_template
from test_template_table import TALKS

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.client_messages import render_for_client
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.rendering_child import answer_to
from swiftbox.templates.renderings import render_example

EACH = RenderOptions(turns="each")


def client_message(turn: Turn) -> dict[str, Any]:
    """Return a turn as a client of an OpenAI API sends it."""
    message: dict[str, Any] = {"role": turn.role, "content": turn.content, **dict(turn.extra)}
    if turn.tool_calls:
        message["tool_calls"] = turn.tool_calls
    return message


@pytest.mark.parametrize("name", wheel_names())
def test_each_prompt_is_the_one_that_the_server_renders(name: str) -> None:
    template = wheel_template(name)
    compared = 0
    for turns, tools in TALKS.values():
        try:
            example = render_example(template, EACH, turns, tools)
        except RowError:
            continue
        for rendering in example.renderings:
            (span,) = rendering.spans
            messages = [client_message(turn) for turn in turns[: span.turn]]
            allowed = [template, template.with_variables({"enable_thinking": True})]
            prompts = [
                render_for_client(variant, messages, tools, prompt=True) for variant in allowed
            ]
            assert rendering.text[: span.start] in prompts
            assert rendering.prompt_end == span.start
            compared += 1
    assert compared


def test_arguments_of_a_client_are_given_as_the_template_wants_them() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    messages = [
        {"role": "user", "content": "Q?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "22", "tool_call_id": "1"},
    ]
    rendered = render_for_client(wheel_template("deepseekv3"), messages, [], prompt=True)
    assert '{"a": 1}' in rendered


def test_a_plain_conversation_is_rendered_as_transformers_renders_it() -> None:
    messages = [{"role": "user", "content": "Q?"}]
    request = {"template": wheel_source("qwen3"), "messages": messages, "tools": None}
    request |= {"prompted": True, "variables": {**SPECIAL, "enable_thinking": False}}
    prompt = server_prompt(wheel_source("qwen3"), messages, [], enable_thinking=False)
    assert answer_to(request)["text"] == prompt


def test_a_child_of_the_server_imports_neither_transformers_nor_pydantic() -> None:
    program = (
        "import json, sys, swiftbox.templates.rendering_child\n"
        "print(json.dumps([name for name in ('transformers', 'pydantic') if name in sys.modules]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(output.stdout) == []
