"""Prompts that begin the answer: with a mark of reasoning, or with words of the template."""

from __future__ import annotations

import pytest
from template_rows import answer, call, learned, user

from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_example
from swiftbox.templates.template import ConversationTemplate

OPENING = ConversationTemplate(
    "{% for m in messages %}[{{ m.role }}]\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n{{ m.content }}"
    "{% else %}{{ m.content.split('</think>')[-1].lstrip() }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}{% endfor %}<end>\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]\n<think>\n\n{% endif %}"
)
"""Opens the reasoning before every answer, as Nemotron Nano v2 does."""

STEPS = ConversationTemplate(
    "{% for m in messages %}{% if m.role == 'assistant' %}<assistant>\n"
    "{% if m.reasoning_content %}{{ m.reasoning_content }}\n[FINAL]\n{% endif %}"
    "{{ m.content }}<end>\n{% else %}<{{ m.role }}>{{ m.content }}{% endif %}"
    "{% if loop.last and m.role != 'assistant' %}<assistant>\nMy steps:\n{% endif %}{% endfor %}"
)
"""Begins the answer with words that it does not write before a given one, as Apriel does."""


@pytest.mark.parametrize("content", ["<think>\nR.\n</think>\n\nA.", "R.\n</think>\n\nA."])
def test_reasoning_that_the_prompt_opens_is_not_opened_twice(content: str) -> None:
    example = render_example(OPENING, RenderOptions(), [user("Q?"), answer(content)])
    (rendering,) = example.renderings
    assert rendering.text == "[user]\nQ?<end>\n[assistant]\n<think>\n\nR.\n</think>\n\nA.<end>\n"
    assert learned(example) == ["R.\n</think>\n\nA.<end>\n"]


@pytest.mark.parametrize("turn", [answer("A."), answer("I think so."), answer("", call("Rome"))])
def test_an_answer_without_reasoning_closes_what_the_prompt_opens(turn: object) -> None:
    example = render_example(OPENING, RenderOptions(), [user("Q?"), turn])  # type: ignore[list-item]
    (text,) = learned(example)
    assert text.startswith("\n</think>\n\n")
    assert text.count("think>") == 1


def test_reasoning_is_learned_after_the_words_that_the_prompt_ends_with() -> None:
    turns = [user("Q?"), answer("A.", reasoning="R.")]
    example = render_example(STEPS, RenderOptions(), turns)
    (rendering,) = example.renderings
    assert rendering.text[: rendering.prompt_end].endswith("<assistant>\nMy steps:\n")
    assert learned(example) == ["R.\n[FINAL]\nA.<end>\n"]
