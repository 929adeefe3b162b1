"""The hints of refusals are tried: what they propose ends the refusal, and none leads in a circle.

A refusal is a place in the source that makes an error for the user. test_hints.py finds those whose
hint proposes a setting or a command: each has a case here, or a reason why it has none.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hint_texts import commands
from proposals import OPEN, verbs
from refused.case import Refused, answer_of, changed, leads_out, proposed, refusal_of
from refused.commands import COMMANDS, RefusedCommand
from refused.settings import CASES
from refused.world import make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A folder with everything that the cases name."""
    folder = tmp_path_factory.mktemp("refused")
    make_world(folder, tiny)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hint_ends_its_refusal(
    case: Refused, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    refusal = refusal_of(case.settings, case.machine)
    assert refusal is not None
    assert case.place in refusal.places, refusal
    cures = proposed(case, refusal)
    assert cures, refusal
    for cure in cures:
        settings = changed(case.settings, cure)
        after = refusal_of(settings, case.machine)
        assert after is None or refusal.message not in after.message, (cure, after)
        assert after is None or leads_out(settings, case.machine), (cure, after)


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.line)
def test_the_command_of_a_hint_runs(
    case: RefusedCommand, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    answer = answer_of(case.line)
    assert answer.code != 0
    assert case.place in answer.places
    lines = [line for line in commands(answer.hint, verbs()) if not OPEN.search(line)]
    assert lines, answer
    for line in lines:
        assert answer_of(line.removeprefix("swiftbox ")).code == 0, line
