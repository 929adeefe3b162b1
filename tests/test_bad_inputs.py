"""Bad inputs by group: no traceback, no hang, a documented exit code, a hint, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_inputs.case import BadInput
from bad_inputs.groups import GROUPS
from bad_inputs.outcome import defects, outcome_of
from bad_inputs.table import counted_rows

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


def test_there_are_500_cases_and_one_in_twenty_is_left_to_run() -> None:
    rows = counted_rows()
    cases, only_run = sum(row.cases for row in rows), sum(row.only_run for row in rows)
    assert cases >= 500
    assert only_run <= cases / 20
    assert all(row.cases for row in rows)


def test_the_names_of_the_cases_are_unique() -> None:
    for group, cases in GROUPS.items():
        names = [case.name for case in cases()]
        assert len(names) == len(set(names)), group
