"""Conversations of odd texts: each is learned after the server's prompt, or is a bad row."""

from __future__ import annotations

import random

import pytest
from template_rows import TOOL, answer, call, result, system, user, wheel_names, wheel_template

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.client_messages import render_for_client
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_example
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal

TEXTS = (
    "Hi",
    "  leading",
    "trailing \n",
    "two\n\nlines",
    "<think>",
    "</think>",
    "thought</think>answer",
    "<think>thought</think>answer",
    "<|im_end|>",
    "{{ x }}",
    "{% if %}",
    "<tool_call>{}</tool_call>",
    "<tool_response>z</tool_response>",
    "中文",
    '"quoted" \\ back',
)
SEEDS = range(12)


def conversation(seed: int) -> list[Turn]:
    chooser = random.Random(seed)

    def content() -> str:
        return chooser.choice(TEXTS) + chooser.choice(["", " " + chooser.choice(TEXTS)])

    turns = [system(content())] if chooser.random() < 0.3 else []
    for _ in range(chooser.randint(1, 3)):
        turns.append(user(content()))
        reasoning = content() if chooser.random() < 0.3 else ""
        if chooser.random() < 0.3:
            turns.append(answer(chooser.choice(["", "Wait."]), call("Rome"), reasoning=reasoning))
            turns += [result(content(), "Rome"), answer(f"Done {content()}")]
        else:
            turns.append(answer(content(), reasoning=reasoning))
    return turns


def message(turn: Turn) -> dict[str, object]:
    plain: dict[str, object] = {"role": turn.role, "content": turn.content, **dict(turn.extra)}
    return {**plain, "tool_calls": turn.tool_calls} if turn.tool_calls else plain


@pytest.mark.parametrize("name", wheel_names())
def test_odd_texts_are_learned_after_the_prompt_of_the_server(name: str) -> None:
    template = wheel_template(name)
    learned = 0
    for turns in map(conversation, SEEDS):
        tools = [TOOL] if any(turn.tool_calls for turn in turns) else []
        try:
            example = render_example(template, RenderOptions(), turns, tools)
        except RowError:
            continue
        for rendering in example.renderings:
            for span in rendering.spans:
                learned += 1
                before = turns[: span.turn]
                assert rendering.text[: span.start] in prompts(template, before, tools)
    assert learned


def prompts(template: ConversationTemplate, turns: list[Turn], tools: list[object]) -> list[str]:
    """Return the prompts of the server: by its defaults, and with reasoning."""
    rendered = []
    for variables in ({}, {"enable_thinking": True}):
        chosen = template.with_variables(variables)
        messages = [message(turn) for turn in turns]
        try:
            rendered.append(render_for_client(chosen, messages, tools, prompt=True))
        except TemplateRefusal:
            continue
    return rendered
