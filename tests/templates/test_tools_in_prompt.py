"""Tools that a template does not render are described in the first turn that it renders."""

from __future__ import annotations

import pytest
from template_rows import TOOL

from swiftbox.templates.abilities import Abilities
from swiftbox.templates.tools_in_prompt import with_tools_in_prompt

USER = {"role": "user", "content": "Q?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_the_tools_stand_before_the_question_without_a_system_turn() -> None:
    (turn,) = with_tools_in_prompt([USER], [TOOL], Abilities(system=False))
    assert turn["role"] == "user"
    assert turn["content"].startswith("You can call")
    assert turn["content"].endswith("\n\nQ?")


@pytest.mark.parametrize("before", [[], [SYSTEM]])
def test_the_tools_follow_the_system_text(before: list[dict[str, str]]) -> None:
    first, second = with_tools_in_prompt([*before, USER], [TOOL], Abilities())
    assert (first["role"], second) == ("system", USER)
    assert '"weather"' in first["content"]
    assert first["content"].startswith("Be brief.\n\n" if before else "You can call")
