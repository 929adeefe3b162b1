"""The planner against published peaks and outcomes, and published speeds."""

from __future__ import annotations

import importlib.util
import statistics
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_fit", ROOT / "scripts" / "bench_fit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_peaks_are_met_within_15_percent_in_the_median(bench: ModuleType) -> None:
    errors = sorted(abs(guess / truth - 1) for _, guess, truth in bench.published())
    assert len(errors) >= 340
    assert statistics.median(errors) <= 0.15
    assert errors[int(0.9 * len(errors))] <= 0.35


def test_published_outcomes_are_right_in_nine_of_ten(bench: ModuleType) -> None:
    rows = bench.outcomes()
    assert len(rows) >= 110
    assert sum(fits == did for _, fits, did in rows) / len(rows) >= 0.9


def test_published_speeds_are_met_within_a_factor_of_two_in_four_of_five(
    bench: ModuleType,
) -> None:
    ratios = [guess / truth for _, guess, truth in bench.speeds()]
    assert len(ratios) >= 80
    assert sum(0.5 <= row <= 2 for row in ratios) / len(ratios) >= 0.8
