"""Which turns are learned in which rendering, and what happens to turns that a template refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from template_rows import (
    SPECIAL,
    TOOL,
    answer,
    call,
    learned,
    result,
    system,
    user,
    wheel_source,
    wheel_template,
)

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.account import Account
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import RenderedExample, render_example, render_prompt
from swiftbox.templates.template import ConversationTemplate

TWO = [user("Q1?"), answer("A1."), user("Q2?"), answer("A2.")]
AUTO = RenderOptions()


def rendered(name: str, row: list[Turn], tools: Any = (), **options: Any) -> RenderedExample:
    return render_example(wheel_template(name), replace(AUTO, **options), row, tools)


def refusal(name: str, row: list[Turn], tools: Any = (), **options: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        rendered(name, row, tools, **options)
    assert "Traceback" not in caught.value.en
    assert caught.value.zh
    return caught.value


# ---- turns


def test_auto_learns_all_turns_in_one_rendering_where_that_is_exact() -> None:
    example = rendered("qwen2_5", TWO)
    (rendering,) = example.renderings
    assert [span.turn for span in rendering.spans] == [1, 3]
    assert rendering.text[: rendering.prompt_end].endswith("<|im_start|>assistant\n")
    assert example.account.lines() == []


def test_auto_learns_each_turn_alone_where_the_template_rewrites_earlier_turns() -> None:
    example = rendered("qwen3", TWO)
    first, second = example.renderings
    assert first.text.endswith("A1.<|im_end|>\n")
    assert [span.turn for span in second.spans] == [3]
    assert "A1." in second.text[: second.prompt_end]
    (line,) = example.account.lines()
    assert line.startswith("turns: each for 1 row (2 answers)")


def test_all_refuses_a_row_whose_earlier_turns_the_template_rewrites() -> None:
    assert "turns: each" in refusal("qwen3", TWO, turns="all").en


def test_each_renders_every_answer_alone_and_last_learns_only_the_last() -> None:
    assert learned(rendered("qwen2_5", TWO, turns="each")) == ["A1.<|im_end|>\n", "A2.<|im_end|>\n"]
    assert learned(rendered("qwen2_5", TWO, turns="last")) == ["A2.<|im_end|>\n"]
    assert learned(rendered("qwen3", TWO, turns="last"))[0].endswith("A2.<|im_end|>\n")


def test_only_a_template_that_rewrites_turns_is_the_reason_for_each() -> None:
    assert rendered("qwen2_5", TWO, turns="each").account.lines() == [
        "turns: each for 1 row (2 answers)"
    ]
    (line,) = rendered("qwen3", TWO, turns="each").account.lines()
    assert line.endswith("the chat template rewrites earlier turns")


def test_generation_marks_say_what_is_learned() -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}{% endgeneration %}!{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    for turns in ("auto", "each"):
        example = render_example(ConversationTemplate(source), replace(AUTO, turns=turns), TWO)
        assert learned(example) == ["A1.", "A2."]
    last = render_example(ConversationTemplate(source), AUTO, TWO, learned_from=2)
    assert learned(last) == ["A2."]


def test_turns_of_weight_0_are_not_learned_and_other_weights_are_kept() -> None:
    turns = [user("Q1?"), answer("A1.", weight=0), user("Q2?"), answer("A2.", weight=2.0)]
    (rendering,) = rendered("qwen2_5", turns).renderings
    assert [(span.turn, span.weight) for span in rendering.spans] == [(3, 2.0)]
    assert rendering.text[: rendering.prompt_end].count("A1.") == 1


def test_a_row_with_nothing_to_learn_is_counted() -> None:
    example = rendered("qwen2_5", [user("Q?"), answer("A.", weight=0)])
    assert learned(example) == []
    assert example.account.lines() == ["1 row with nothing to learn"]


def test_an_assistant_may_speak_first() -> None:
    example = rendered("gptoss", [answer("Hello."), *TWO])
    assert len(example.renderings) == 3
    assert "Hello." in learned(example)[0]


def test_a_prompt_is_what_the_server_renders() -> None:
    prompt = render_prompt(wheel_template("qwen3"), AUTO, TWO[:3])
    assert prompt == rendered("qwen3", TWO, turns="each").renderings[1].text[: len(prompt)]


def test_variables_of_the_template_change_prompt_and_answer_alike() -> None:
    quiet = wheel_template("qwen3", enable_thinking=False)
    (rendering,) = render_example(quiet, AUTO, TWO[:2]).renderings
    assert rendering.text[: rendering.prompt_end].endswith("<think>\n\n</think>\n\n")
    assert rendering.text[rendering.prompt_end :] == "A1.<|im_end|>\n"


def test_reasoning_that_the_prompt_forbids_is_learned_after_a_prompt_that_allows_it() -> None:
    example = rendered("qwen3_5_nothink", [user("Q?"), answer("A.", reasoning="R.")])
    (rendering,) = example.renderings
    assert rendering.text[: rendering.prompt_end].endswith("assistant\n<think>\n")
    assert "enable_thinking: true" in example.account.lines()[0]


def test_a_template_without_closing_token_learns_the_first_token_of_the_next_turn() -> None:
    turns = [user("Q?"), answer("", call("Rome")), result("22", "Rome"), answer("A.")]
    texts = learned(rendered("glm4moe", turns, [TOOL]))
    assert texts[0].endswith("</tool_call><|observation|>")
    assert texts[1].endswith("A.<|user|>")


OPEN_END = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
UNMARKED_END = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{% endgeneration %}<end>{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("source", [OPEN_END, UNMARKED_END])
def test_answers_from_which_the_model_does_not_learn_to_stop_are_counted(source: str) -> None:
    (line,) = render_example(ConversationTemplate(source), AUTO, TWO).account.lines()
    assert line.startswith("2 answers without a closing token")


# ---- words


@pytest.mark.parametrize("name", ["qwen3", "qwen3_8", "deepseek_r1_distill", "gemma4", "glm4moe"])
@pytest.mark.parametrize("is_inline", [True, False])
def test_reasoning_is_learned_in_the_form_that_the_template_knows(
    name: str, is_inline: bool
) -> None:
    turn = answer("<think>R.</think>A.") if is_inline else answer("A.", reasoning="R.")
    (text,) = learned(rendered(name, [user("Q?"), turn]))
    assert text.count("R.") == 1
    assert text.count("A.") == 1
    assert text.count("<think>") <= 1


def test_two_reasoning_turns_are_learned_with_their_reasoning() -> None:
    turns = [user("Q1?"), answer("<think>R1</think>A1"), user("Q2?"), answer("R2</think>A2")]
    texts = learned(rendered("qwen3", turns))
    assert texts == [f"<think>\nR{n}\n</think>\n\nA{n}<|im_end|>\n" for n in (1, 2)]


@pytest.mark.parametrize("name", ["qwen3", "qwen3_8", "deepseek_r1_distill", "gptoss", "glm4moe"])
def test_an_empty_block_of_reasoning_is_the_same_as_none(name: str) -> None:
    question = user("Q?")
    empty = rendered(name, [question, answer("<think>\n\n</think>\n\nA.")])
    assert empty == rendered(name, [question, answer("A.")])


@pytest.mark.parametrize("name", ["qwen3", "qwen3_8", "deepseek_r1_distill", "gptoss", "glm4moe"])
def test_reasoning_in_both_places_is_learned_once(name: str) -> None:
    question = user("Q?")
    both = rendered(name, [question, answer("<think>R.</think>A.", reasoning="R.")])
    assert both == rendered(name, [question, answer("A.", reasoning="R.")])


def test_text_around_a_mark_of_reasoning_is_not_lost_in_silence() -> None:
    turns = [user("Q?"), answer("Write <think> and </think> around it.")]
    assert "drops its content" in refusal("deepseek_r1_distill", turns).en
    for name in ("qwen3", "qwen3_5_think", "qwen2_5", "glm4moe"):
        assert "Write <think> and </think> around it." in learned(rendered(name, turns))[0]


def test_reasoning_that_a_template_does_not_know_is_an_error_or_counted() -> None:
    turns = [user("Q?"), answer("A.", reasoning="R.")]
    error = refusal("llama3", turns)
    assert error.kind == "lost"
    assert "message 2: the chat template drops its reasoning_content" in error.en
    example = rendered("llama3", turns, lost_words="warn")
    assert learned(example) == ["A.<|eot_id|>"]
    assert example.account.lines() == [
        "lost words: the chat template drops the reasoning of 1 turn"
    ]


def test_an_answer_that_loses_all_its_words_is_counted_with_its_place() -> None:
    turns = [user("Q?"), answer("", call("Rome"))]
    example = rendered("llama3", turns, lost_words="warn")
    assert learned(example) == ["<|eot_id|>"]
    account = Account()
    account.add(example.account, "a.jsonl:7")
    assert (
        "1 answer of which the chat template writes no words: the model learns to answer nothing "
        "there (first: a.jsonl:7)"
    ) in account.lines()


def test_lost_words_of_turns_that_are_not_learned_are_counted() -> None:
    called = replace(answer("", call("Rome")), weight=0)
    example = rendered("llama3", [user("Q?"), called, user("Well?"), answer("A.")])
    assert learned(example) == ["A.<|eot_id|>"]
    assert any("tool call name" in line for line in example.account.lines())


def test_calls_that_a_template_does_not_know_are_lost_even_if_it_names_tools() -> None:
    source = "{# tools and tool_calls #}" + wheel_source("llama3")
    turns = [user("Q?"), answer("", call("Rome"))]
    with pytest.raises(RowError, match="renders no tool calls"):
        render_example(ConversationTemplate(source, SPECIAL), AUTO, turns, [TOOL])


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("name", ["deepseekv3", "qwen2_5", "qwen3_5_think", "gemma4", "gptoss"])
def test_arguments_are_given_as_the_template_wants_them(name: str, as_text: bool) -> None:
    turns = [user("Q?"), answer("", call("Rome", as_text=as_text))]
    (text,) = learned(rendered(name, turns, [TOOL]))
    assert "Rome" in text
    assert '\\"' not in text
    assert text == learned(rendered(name, [turns[0], answer("", call("Rome"))], [TOOL]))[0]


def test_arguments_in_another_spelling_are_not_lost() -> None:
    spelled = call("Rome")
    spelled["function"]["arguments"] = (
        '{"city":"M\\u00fcnchen \\"Ost\\"",\n "days": [1, {"a": null}]}'
    )
    for name in ("qwen2_5", "glm4moe", "lfm2_2_5", "gemma4"):
        rendered(name, [user("Q?"), answer("", spelled)], [TOOL])


def test_second_calls_that_a_template_leaves_out_are_lost() -> None:
    turns = [user("Q?"), answer("", call("Rome"), call("Bonn"))]
    assert "tool call arguments" in refusal("gptoss", turns, [TOOL]).en


def test_tools_that_a_template_does_not_render_are_counted() -> None:
    example = rendered("llama3", TWO, [TOOL])
    assert "the tool definitions of 1 row" in example.account.lines()[0]


def test_definitions_of_tools_lose_their_nulls() -> None:
    tool = {"type": "function", "function": {**TOOL["function"], "strict": None}}
    (rendering,) = rendered("qwen3", TWO[:2], [tool]).renderings
    assert "null" not in rendered("qwen3", TWO[:2], [tool]).renderings[0].text
    assert rendering == rendered("qwen3", TWO[:2], [TOOL]).renderings[0]


def test_calls_lose_the_nulls_of_parameters_of_other_tools() -> None:
    padded = call("Rome")
    padded["function"]["arguments"] = {"city": None, "days": None, "query": None}
    for tools, expected in (([TOOL], '{"city": null}'), ([], '"query": null')):
        (text,) = learned(rendered("qwen2_5", [user("Q?"), answer("", padded)], tools))
        assert expected in text


def test_a_template_that_renders_parts_is_given_parts() -> None:
    (rendering,) = rendered("smolvlm", TWO).renderings
    assert all(part in rendering.text for part in ("Q1?", "A1.", "Q2?", "A2."))


# ---- refusals and cures


def test_a_refusal_is_a_row_error_with_the_words_of_the_template() -> None:
    error = refusal("llama3_1", [user("Q?"), answer("", call("Rome"), call("Bonn"))], [TOOL])
    assert error.kind == "template"
    assert "only supports single tool-calls at once" in error.en


def test_two_users_in_a_row_are_merged_on_request() -> None:
    turns = [user("Q1?"), user("Q2?"), answer("A.")]
    assert "(merge_consecutive: true cures it)" in refusal("gemma", turns).en
    example = rendered("gemma", turns, merge_consecutive=True)
    assert "Q1?\n\nQ2?" in example.renderings[0].text
    assert example.account.lines() == ["1 turn merged into the turn before"]


def test_a_system_text_moves_into_the_user_turn_on_request() -> None:
    turns = [system("S."), user("Q?"), answer("A.")]
    error = refusal("gemma", turns)
    assert "System role not supported (system_into_user: true cures it)" in error.en
    example = rendered("gemma", turns, system_into_user=True)
    assert "user\nS.\n\nQ?" in example.renderings[0].text
    assert rendered("qwen3", turns, system_into_user=True) == rendered("qwen3", turns)


def test_a_system_text_in_the_middle_is_rendered_or_an_error_that_names_the_cure() -> None:
    turns = [*TWO[:2], system("S."), *TWO[2:]]
    assert "S." in rendered("qwen2_5", turns).renderings[0].text
    assert "System message must be at the beginning" in refusal("qwen3_5_think", turns).en
    for name in ("qwen3_5_think", "qwen3_vl"):  # the second drops it without a word
        assert "system_into_user: true" in refusal(name, turns).en
        example = rendered(name, turns, system_into_user=True)
        assert any("S.\n\nQ2?" in rendering.text for rendering in example.renderings)


def test_two_answers_in_a_row_are_merged_on_request() -> None:
    turns = [user("Q?"), answer("A1."), answer("A2.")]
    assert "merge_consecutive: true cures it" in refusal("gemma4", turns).en
    (text,) = learned(rendered("gemma4", turns, merge_consecutive=True))
    assert text.startswith("A1.\n\nA2.")


def test_an_answer_after_a_call_follows_the_prompt_of_the_server() -> None:
    """This template drops the thought before a call once the final answer is there."""
    turns = [user("Q?"), answer("Thought.", call("Rome")), result("22", "Rome"), answer("A.")]
    example = rendered("gptoss", turns, [TOOL])
    assert "Thought." in example.renderings[1].text[: example.renderings[1].prompt_end]
    assert learned(example)[1] == "<|channel|>final<|message|>A.<|return|>"


def test_a_cure_that_does_not_help_is_not_named() -> None:
    turns = [user("Q?"), answer("", call("Rome")), result("22", "Rome"), answer("A.")]
    error = refusal("gemma", turns, [TOOL])
    assert "merge_consecutive" not in error.en
    assert "system_into_user" not in error.en


def test_a_developer_turn_is_a_system_turn_where_the_template_knows_no_developer() -> None:
    turns = [Turn("developer", "S."), user("Q?"), answer("A.")]
    assert rendered("qwen3", turns) == rendered("qwen3", [system("S."), *turns[1:]])


# ---- texts that are filled in


def test_the_default_system_text_is_for_conversations_without_one() -> None:
    assert "<|im_start|>system\nS." in rendered("qwen3", TWO[:2], system="S.").renderings[0].text
    with_system = [system("Other."), *TWO[:2]]
    assert rendered("qwen3", with_system, system="S.") == rendered("qwen3", with_system)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_6"])
def test_a_result_that_has_the_marks_of_the_template_is_not_marked_twice(name: str) -> None:
    call_turn = answer("", call("Rome"))
    plain = [user("Rome?"), call_turn, Turn("tool", "clear"), answer("Clear.")]
    marked = Turn("tool", "<tool_response>\nclear\n</tool_response>")
    assert rendered(name, [*plain[:2], marked, plain[3]]) == rendered(name, plain)


# ---- the account


def test_accounts_add_up_and_keep_the_first_place() -> None:
    total = Account()
    for line in (3, 7):
        example = rendered("qwen2_5", TWO, system="S.")
        total.add(example.account, f"a.jsonl:{line}")
    assert total.lines() == ["2 rows with the default system text (first: a.jsonl:3)"]
    assert Account.of(total.data()) == total
