"""Runs whose processes are killed at seeded moments lose nothing and leave nothing behind.

SWIFTBOX_KILLS=100 python -m pytest -n 0 -s tests/runs/test_kills.py kills a hundred times over all
scenarios and prints a table; SWIFTBOX_KILLS_SEED chooses other moments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from kill_scenarios import SCENARIOS
from kills import run_scenario, shares

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the variables of processes"),
]

FEW = ("lora", "merge", "download")
"""The scenarios of the usual test run: the others take minutes."""

COUNT = int(os.environ.get("SWIFTBOX_KILLS", "6"))
SEED = int(os.environ.get("SWIFTBOX_KILLS_SEED", "13"))
SHARES = shares(COUNT, list(SCENARIOS) if COUNT > 6 else FEW)


@pytest.mark.parametrize("name", SHARES)
def test_a_killed_run_ends_like_an_uninterrupted_one(name: str, tmp_path: Path, tiny: Path) -> None:
    with SCENARIOS[name].prepared(tmp_path / "made", tiny) as scenario:
        problems = []
        for outcome in run_scenario(scenario, tmp_path / name, SHARES[name], SEED):
            print(outcome.line(), flush=True)
            problems += [outcome.line()] if outcome.problems else []
        assert problems == []
