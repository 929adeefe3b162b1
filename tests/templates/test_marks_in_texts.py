"""Texts of rows that hold marks of their template are counted, and said with their first place."""

from __future__ import annotations

import json

import pytest
from template_rows import TOOL, answer, system, user, wheel_template

from swiftbox.data.example import Turn
from swiftbox.templates.account import DOUBLE_REASONING, DOUBLE_TOOLS, MARK, OPEN_REASONING
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_example


def counts(name: str, *turns: Turn) -> dict[str, int]:
    return dict(render_example(wheel_template(name), RenderOptions(), turns).account.counts)


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("qwen2_5", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("gemma3", "<end_of_turn>"),
        ("gemma4", "<turn|>"),
        ("deepseekv3", "<｜Assistant｜>"),
        ("phi3", "<eos>"),
    ],
)
def test_a_mark_of_the_template_in_a_text_is_counted_by_turns(name: str, mark: str) -> None:
    turns = [user(f"What is {mark}?"), answer(f"It ends.{mark} {mark}")]
    assert counts(name, *turns)[MARK + mark] == 2


def test_marks_of_other_templates_and_of_reasoning_are_texts() -> None:
    turns = [system("Use <tool_call>."), user("<|eot_id|> in <b>"), answer("<think>a</think>b</s>")]
    assert not [event for event in counts("qwen3", *turns) if event.startswith(MARK)]


def test_a_line_names_the_mark() -> None:
    turns = [user("q"), answer("a<|im_end|>")]
    account = render_example(wheel_template("qwen3"), RenderOptions(), turns).account
    assert any(
        line.startswith("<|im_end|> stands in the text of 1 turn") for line in account.lines()
    )


@pytest.mark.parametrize("name", ["qwen3", "qwen2_5", "llama3"])
def test_reasoning_that_is_not_closed_is_counted(name: str) -> None:
    assert counts(name, user("q"), answer("<think>\nLet me see"))[OPEN_REASONING] == 1
    assert OPEN_REASONING not in counts(name, user("q"), answer("<think>\na\n</think>\n\nb"))


def test_reasoning_in_a_field_and_in_the_text_is_counted() -> None:
    twice = answer("<think>\na\n</think>\n\nb", reasoning="other")
    assert counts("qwen3", user("q"), twice)[DOUBLE_REASONING] == 1
    same = answer("<think>\na\n</think>\n\nb", reasoning="a")
    assert DOUBLE_REASONING not in counts("qwen3", user("q"), same)


def test_tools_in_the_system_text_and_in_their_column_are_counted() -> None:
    def events(text: str) -> dict[str, int]:
        turns = [system(text), user("q"), answer("a")]
        template, options = wheel_template("qwen2_5"), RenderOptions()
        return dict(render_example(template, options, turns, [TOOL]).account.counts)

    assert events(f"<tools>{json.dumps(TOOL)}</tools>")[DOUBLE_TOOLS] == 1
    assert DOUBLE_TOOLS not in events("You tell the weather.")
