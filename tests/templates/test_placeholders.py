"""{{NAME}} and {{AUTHOR}} in rows: filled in, or an error that names all settings at once."""

from __future__ import annotations

from typing import Any

import pytest
from template_rows import answer, learned, user, wheel_template

from swiftbox.data.example import RowError, Turn
from swiftbox.templates.options import RenderOptions
from swiftbox.templates.renderings import RenderedExample, render_example

TALK = [user("Q?"), answer("A.")]


def filled(turns: list[Turn], **options: Any) -> RenderedExample:
    return render_example(wheel_template("qwen2_5"), RenderOptions(**options), turns)


def refusal(turns: list[Turn], **options: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        filled(turns, **options)
    return caught.value


def test_names_are_filled_in_by_the_language_of_the_turn() -> None:
    turns = [
        user("你是谁？"),
        answer("我是{{NAME}}。"),
        user("Who?"),
        answer("{{NAME}}, {{AUTHOR}}"),
    ]
    names = {"model_name": ("小箱", "Swifty"), "model_author": ("Team",)}
    texts = learned(filled(turns, **names))
    assert texts[0].startswith("我是小箱。")
    assert texts[1].startswith("Swifty, Team")
    both = "{{NAME}} and {{AUTHOR}} are not filled in; set model_name and model_author"
    assert both in refusal(turns).en
    named = refusal(turns, model_name=("Swifty",))
    assert named.en == "{{AUTHOR}} is not filled in; set model_author"


def test_the_default_system_text_is_filled_in_too() -> None:
    example = filled(TALK, system="I am {{NAME}}.", model_name=("Swifty",))
    assert "I am Swifty." in example.renderings[0].text
    assert "set model_name" in refusal(TALK, system="I am {{NAME}}.").en


def test_placeholders_in_small_letters_are_filled_in_or_counted() -> None:
    turns = [user("Write {{name}}."), answer("I am {{name}} by {{author}}.")]
    names = {"model_name": ("Swifty",), "model_author": ("Team",)}
    assert learned(filled(turns, **names))[0].startswith("I am Swifty by Team.")
    example = filled(turns)
    assert learned(example)[0].startswith("I am {{name}} by {{author}}.")
    assert "set model_name and model_author" in "\n".join(example.account.lines())


def test_placeholders_of_code_in_small_letters_stay() -> None:
    turns = [user("Show it in Vue."), answer("`<p>{{name}}</p>`")]
    assert learned(filled(turns, model_name=("Bot",)))[0].startswith("`<p>{{name}}")
