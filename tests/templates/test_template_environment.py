"""Templates render here as transformers renders them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from template_rows import SPECIAL, TOOL, wheel_names, wheel_source
from transformers.utils.chat_template_utils import render_jinja_template

from swiftbox.templates.template import ConversationTemplate, TemplateRefusal


def call(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return {"id": f"call{city}00", "type": "function", "function": function}


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


QUESTION, ANSWER = turn("user", "Q1 é"), turn("assistant", "A1")
TALKS: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "a question": ([QUESTION], []),
    "two turns": ([QUESTION, ANSWER, turn("user", "Q2"), turn("assistant", " A2\n")], []),
    "system": ([turn("system", "S"), QUESTION, ANSWER], []),
    "reasoning": ([QUESTION, turn("assistant", "A", reasoning_content="R")], []),
    "older names": ([QUESTION, turn("assistant", "A", reasoning="R", name=None)], []),
    "inline reasoning": ([QUESTION, turn("assistant", "<think>R</think>A")], []),
    "calls": (
        [
            QUESTION,
            turn("assistant", "", tool_calls=[call("Rome"), call("Bonn")]),
            turn("tool", "22", name="weather", tool_call_id="callRome00"),
            ANSWER,
        ],
        [TOOL],
    ),
}


def theirs(source: str, messages: list[Any], tools: list[Any], **settings: Any) -> Any:
    cleaned = [{k: v for k, v in row.items() if v is not None} for row in messages]
    try:
        texts, marks = render_jinja_template(
            [cleaned], tools or None, chat_template=source, **settings, **SPECIAL
        )
    except Exception as error:  # noqa: BLE001 - a template raises whatever Python raises
        return str(error)
    return texts[0], marks[0] if marks else []


def ours(source: str, messages: list[Any], tools: list[Any], *, prompt: bool) -> Any:
    template = ConversationTemplate(source, SPECIAL)
    try:
        if prompt:
            return template.render(messages, tools, prompt=True), []
        return template.render_marked(messages, tools)
    except TemplateRefusal as refusal:
        return str(refusal)


@pytest.mark.parametrize("name", [*wheel_names(), *wheel_names(training=True)])
def test_every_template_renders_what_transformers_renders(name: str) -> None:
    source = wheel_source(name)
    is_marked = ConversationTemplate(source).is_marked
    for messages, tools in TALKS.values():
        marked = ours(source, messages, tools, prompt=False)
        assert marked == theirs(source, messages, tools, return_assistant_tokens_mask=is_marked)
        prompted = ours(source, messages[:1], tools, prompt=True)
        assert prompted == theirs(source, messages[:1], tools, add_generation_prompt=True)


@pytest.mark.parametrize(
    "source",
    [
        "{% set space = namespace(_a=1) %}",
        "{% set space = namespace() %}{% set space._a = 1 %}",
        "{{ dict.__class__ }}",
        "{{ dict(a=1).a }}{{ dict.fromkeys(['b'], 2).b }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].items() | list }}{{ messages[0].absent }}{{ messages[0].absent.x }}",
        "{{ messages[0].clear() }}",
        "{{ '{0.__class__}'.format(messages) }}{{ 'a,b'.split(',') }}{{ 'a'.__len__ }}",
        "{% for m in messages %}{{ loop.first }}{{ loop.nextitem }}{{ loop._x }}{% endfor %}",
        "{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ loop.absent }}{% endfor %}",
        "{{ messages[0].__class__ }}{{ messages[0]._private }}",
        "{% set n = namespace(f='{0.__class__}'.format) %}{{ n.f(messages) }}",
        "{% set n = namespace(items=1) %}{{ n.items }}{{ n.absent }}{{ n.__class__ }}",
        "{{ raise_exception('No.') }}",
        "{{ {'a': 'é<'} | tojson(indent=2, sort_keys=true) }}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}x{% endfor %}",
        "{% generation %}a{% endgeneration %}b{%- generation -%} c {%- endgeneration -%}",
        "{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}x{{ m() }}y",
    ],
)
def test_functions_and_limits_are_those_of_transformers(source: str) -> None:
    messages, tools = TALKS["two turns"]
    is_marked = "generation" in source
    expected = theirs(source, messages, tools, return_assistant_tokens_mask=is_marked)
    got = ours(source, messages, tools, prompt=False)
    if "_a" in source:  # both refuse it, each in its words
        assert isinstance(got, str)
        assert isinstance(expected, str)
    else:
        assert got == expected


def test_the_date_is_that_of_today() -> None:
    rendered = ConversationTemplate("{{ strftime_now('%Y') }}").render([QUESTION])
    assert rendered == datetime.now().strftime("%Y")
