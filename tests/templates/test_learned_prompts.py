"""What is learned of prompts (train_on_prompt), and what is counted of prompts to answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from template_rows import answer, call, learned, result, user, wheel_template

from swiftbox.data.example import Example, Turn
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import RenderedExample, render_example
from swiftbox.templates.tokens import known_tokens

TWO = [user("Q1?"), answer("A1."), user("Q2?"), answer("A2.")]
OPTIONS = RenderOptions(train_on_prompt=True)


def rendered(name: str, row: list[Turn], tools: Any = ()) -> RenderedExample:
    return render_example(wheel_template(name), OPTIONS, row, tools)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_training"])
def test_every_rendering_is_learned_as_a_whole(name: str) -> None:
    example = rendered(name, TWO)
    assert learned(example) == [rendering.text for rendering in example.renderings]


def test_a_turn_of_weight_0_is_not_learned_and_another_weight_is_kept() -> None:
    row = [user("Q1?"), answer("A1.", weight=0), user("Q2?"), answer("A2.", weight=2.0)]
    example = rendered("qwen2_5", row)
    before, between, weighted = learned(example)
    assert before.endswith("<|im_start|>assistant\n")
    assert between == "<|im_start|>user\nQ2?<|im_end|>\n<|im_start|>assistant\n"
    assert weighted == "A2.<|im_end|>\n"
    assert [span.weight for span in example.renderings[0].spans] == [1, 1, 2]


def test_a_turn_of_weight_0_is_not_learned_in_the_prompt_of_a_later_answer() -> None:
    row = [user("Q?"), answer("A1.", weight=0), *TWO[2:], user("Q3?"), answer("A3.", weight=0.5)]
    example = rendered("qwen3", row)
    assert len(example.renderings) == 2
    assert not any("A1." in text for text in learned(example))
    weights = {span.weight for span in example.renderings[1].spans}
    assert weights == {1, 0.5}


def test_a_call_of_weight_0_is_not_learned() -> None:
    wrong = answer("", call("Bonn"), weight=0)
    row = [user("Q?"), wrong, result("r", "Bonn"), answer("A.")]
    texts = learned(rendered("qwen2_5", row))
    assert not any("Bonn" in text or "wind" in text for text in texts)
    assert texts[-1].endswith("A.<|im_end|>\n")


def test_tokens_that_an_earlier_row_begins_with_are_known() -> None:
    assert known_tokens([[1, 2, 3], [1, 2, 4, 5], [1, 2, 4], [9]]) == [0, 2, 3, 0]


def test_what_is_changed_in_prompts_to_answer_is_counted() -> None:
    options = replace(OPTIONS, system="S.", merge_consecutive=True, system_into_user=True)
    renderer = ExampleRenderer(wheel_template("gemma"), options, generates_answers=True)
    renderer.render(Example((user("a"), user("b"))), "a.jsonl:7")
    assert renderer.account.lines() == [
        "1 row with the default system text (first: a.jsonl:7)",
        "1 turn merged into the turn before (first: a.jsonl:7)",
        "the system text of 1 row moved into the user turn (first: a.jsonl:7)",
    ]
