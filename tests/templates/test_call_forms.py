"""Tool calls in templates that want them in an unusual form, or one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from template_rows import TOOL, answer, call, learned, result, user, wheel_template

from swiftbox.data.example import RowError
from swiftbox.templates.abilities import abilities_of
from swiftbox.templates.client_messages import render_for_client
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import render_example
from swiftbox.templates.template import ConversationTemplate

CALLED = [user("Q?"), answer("", call("Rome")), result("Rain", "Rome"), answer("A.")]
PARALLEL = [
    user("Q?"),
    answer("", call("Rome"), call("Bonn"), reasoning="Both."),
    result("Sun", "Bonn"),
    result("Rain", "Rome"),
    answer("A."),
]
SEQUENTIAL = RenderOptions(sequential_calls=True)


def calls_where(condition: str, closing: str = "") -> ConversationTemplate:
    """Return a template that renders calls under a condition, and `closing` after the second."""
    return ConversationTemplate(
        "{% for m in messages %}[{{ m.role }}]{% if " + condition + " %}{% for c in m.tool_calls %}"
        "{{ c.function.name }}{{ c.function.arguments | tojson }}"
        "{% if not loop.first %}" + closing + "{% endif %}{% endfor %}"
        "{% else %}{{ m.content }}[end]{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )


@pytest.mark.parametrize("condition", ["m.content is none", "m.content is undefined"])
def test_the_content_of_a_call_is_left_out_where_the_template_renders_calls_only_so(
    condition: str,
) -> None:
    texts = learned(render_example(calls_where(condition, "[end]"), RenderOptions(), CALLED))
    assert texts[0].startswith("weather")
    assert "Rome" in texts[0]
    assert texts[1] == "A.[end]"


def test_a_single_call_is_learned_with_what_closes_several() -> None:
    template = calls_where("m.content is none", "[calls end][end]")
    assert abilities_of(template).call_closing == "[calls end][end]"
    texts = learned(render_example(template, RenderOptions(), CALLED))
    assert texts[0].endswith("}[calls end][end]")


def test_a_server_renders_a_call_in_the_form_that_the_template_wants() -> None:
    template = calls_where("m.content is none", "[end]")
    calling = {"role": "assistant", "content": "", "tool_calls": [call("Rome", as_text=True)]}
    messages = [{"role": "user", "content": "Q?"}, calling]
    rendered = render_for_client(template, messages, [], prompt=True)
    assert '"city": "Rome"' in rendered


def test_reasoning_of_a_call_is_learned_by_a_template_that_wants_no_content() -> None:
    turns = [CALLED[0], answer("", call("Rome"), reasoning="Why."), *CALLED[2:]]
    texts = learned(render_example(wheel_template("deepseek_r1_distill"), RenderOptions(), turns))
    assert texts[0].startswith("Why.\n</think>\n\n<｜tool▁calls▁begin｜>")
    assert texts[0].endswith("<｜tool▁calls▁end｜><｜end▁of▁sentence｜>")


def test_parallel_calls_follow_each_other_with_their_results_by_id() -> None:
    example = render_example(wheel_template("gptoss"), SEQUENTIAL, PARALLEL, [TOOL])
    text = example.renderings[-1].text
    parts = ("Both.", "Rome", "Rain", "Bonn", "Sun", "A.")
    places = [text.find(part, text.find("Q?")) for part in parts[1:]]
    assert places == sorted(places)
    assert [("Both." in content, "Bonn" in content) for content in learned(example)] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    (line,) = [line for line in example.account.lines() if "parallel" in line]
    assert line == "the parallel tool calls of 1 row in sequence, each with its result"


def test_parallel_calls_without_a_result_each_stay_together() -> None:
    for turns in (PARALLEL[:2], [*PARALLEL[:3], PARALLEL[4]]):
        with pytest.raises(RowError) as caught:
            render_example(wheel_template("gptoss"), SEQUENTIAL, turns, [TOOL])
        assert "sequential_calls" not in caught.value.en


def test_results_without_ids_are_taken_in_their_order() -> None:
    turns = [replace(turn, extra=()) for turn in PARALLEL]
    (rendering,) = render_example(wheel_template("llama3_1"), SEQUENTIAL, turns, [TOOL]).renderings
    places = [rendering.text.index(part) for part in ("Rome", "Sun", "Bonn", "Rain")]
    assert places == sorted(places)


def test_a_template_that_knows_parallel_calls_is_given_them_as_they_are() -> None:
    example = render_example(wheel_template("qwen3"), RenderOptions(), PARALLEL, [TOOL])
    assert example.account.counts["parallel calls in sequence"] == 0
    assert learned(example)[0].count("<tool_call>") == 2


def calls_by_id(content: str, check: str = "") -> ConversationTemplate:
    """Return a template that renders what `content` says of a call, and the ids of results."""
    return ConversationTemplate(
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'tool' %}({{ m.tool_call_id }})"
        "{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}" + check + content + "<call>"
        "{{ c.function.arguments | tojson }}{% endfor %}<end>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )


def test_ids_hold_the_name_where_a_template_writes_only_them() -> None:
    """As Kimi K2's, whose ids are numbered through the conversation."""
    template = calls_by_id("{{ c.id }}")
    again = [answer("", call("Oslo")), result("Fog", "Oslo"), answer("B.")]
    turns = [replace(turn, extra=turn.extra * (turn.role == "tool")) for turn in PARALLEL[:4]]
    (rendering,) = render_example(template, RenderOptions(), [*turns, *again]).renderings
    for part in ("functions.weather:0<call>", "functions.weather:1<call>", "weather:2<call>"):
        assert rendering.text.count(part) == 1
    places = [rendering.text.index(part) for part in (":1)Sun", ":0)Rain", ":2)Fog")]
    assert places == sorted(places)


def test_results_without_ids_name_the_calls_in_their_order() -> None:
    turns = [replace(turn, extra=()) for turn in PARALLEL]
    (rendering,) = render_example(calls_by_id("{{ c.id }}"), RenderOptions(), turns).renderings
    places = [rendering.text.index(part) for part in (":0)Sun", ":1)Rain")]
    assert places == sorted(places)


NINE = "{% if c.id | length != 9 %}{{ raise_exception('ids have length 9') }}{% endif %}"


@pytest.mark.parametrize("call_id", [None, "call_1", "callRome0"])
def test_ids_have_nine_letters_where_a_template_requires_that(call_id: str | None) -> None:
    """As Mistral's."""
    template = calls_by_id("{{ c.function.name }}{{ c.id }}", NINE)
    calling = {**call("Rome"), "id": call_id}
    named = () if call_id is None else (("tool_call_id", call_id),)
    turns = [user("Q?"), answer("", calling), replace(CALLED[2], extra=named), answer("A.")]
    (rendering,) = render_example(template, RenderOptions(), turns).renderings
    written = rendering.text.partition("weather")[2].partition("<call>")[0]
    assert len(written) == 9
    assert f"({written})Rain" in rendering.text
    assert written == call_id or call_id != "callRome0"
    messages = [
        {"role": "user", "content": "Q?"},
        {"role": "assistant", "content": "", "tool_calls": [calling]},
        {"role": "tool", "content": "Rain", "tool_call_id": call_id},
    ]
    prompt = render_for_client(template, messages, [], prompt=True)
    assert rendering.text.startswith(prompt)
