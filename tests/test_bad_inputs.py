"""Bad inputs by group: no traceback, no hang, a documented exit code, a hint, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_inputs.case import BadInput
from bad_inputs.groups import GROUPS
from bad_inputs.outcome import defects, outcome_of

CASES = [
    pytest.param(case, id=f"{group}-{case.name}")
    for group, cases in GROUPS.items()
    for case in cases()
]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input_is_refused_with_a_hint(case: BadInput, tmp_path: Path) -> None:
    outcome = outcome_of(case, tmp_path)
    assert not defects(case, outcome), (outcome.output + outcome.error)[-2000:]


def test_the_surroundings_of_the_cases_are_sound(tmp_path: Path) -> None:
    sound = BadInput("sound", code=0, expected="rows: 4")
    assert not defects(sound, outcome_of(sound, tmp_path))
