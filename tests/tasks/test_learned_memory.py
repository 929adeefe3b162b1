"""What a run teaches the planner of this machine: files that it reads and writes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.files import write_json
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits, NeedOfFree
from swiftbox.fit.profile import profile_model
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.verdict import assess_fit
from swiftbox.plan import plan
from swiftbox.runs import events
from swiftbox.runs.folder import ESTIMATE, SPLIT
from swiftbox.tasks.learned_memory import (
    MOST_SECONDS,
    Measured,
    MemoryObserver,
    estimate_record,
    kind_of_training,
    learned_limits,
    remember_failure,
    remember_success,
    versions_of,
)
from swiftbox.tasks.load import loads

MACHINE = hypothetical_machine("cuda:24")
MODEL = "Qwen/Qwen3-0.6B"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path))
    monkeypatch.delenv("SWIFTBOX_CACHE_HOME", raising=False)
    return tmp_path


def training(*overrides: str) -> Any:
    usual = [f"model={MODEL}", "dataset=owner/rows", "per_device_train_batch_size=8", *overrides]
    return plan(loads("", source="test", overrides=usual).config, MACHINE).config


def shape() -> ModelShape:
    profile = profile_model(MODEL)
    assert profile is not None
    return profile.shape


def kind(*overrides: str) -> str:
    return kind_of_training(training(*overrides), shape(), MACHINE)


def a_run(versions: str = "") -> Measured:
    return Measured(kind(), versions or versions_of(MACHINE))


def failed_of_24(need: float) -> NeedOfFree:
    return NeedOfFree(need, 24e9)


def learned(*overrides: str) -> LearnedLimits:
    return learned_limits(training(*overrides), shape(), MACHINE)


@pytest.mark.usefixtures("home")
def test_the_smallest_share_that_failed_and_the_last_peak_are_remembered() -> None:
    for failed in (NeedOfFree(8e9, 24e9), NeedOfFree(7e9, 24e9), NeedOfFree(6e9, 7e9)):
        remember_failure(a_run(), failed)
    for ratio in (1.4, 1.1):
        remember_success(a_run(), None, ratio)
    assert learned() == LearnedLimits(NeedOfFree(7e9, 24e9), 1.1)


@pytest.mark.usefixtures("home")
def test_another_training_learns_nothing_from_it() -> None:
    remember_failure(a_run(), failed_of_24(8e9))
    assert learned("max_length=512") == NOTHING_LEARNED
    assert learned("stage=dpo") == NOTHING_LEARNED
    assert learned("tuner_type=full") == NOTHING_LEARNED


@pytest.mark.usefixtures("home")
def test_a_failure_on_a_crowded_device_does_not_cap_an_empty_one() -> None:
    remember_failure(a_run(), NeedOfFree(19e9, 20e9))
    assert not learned().allows(19e9, 20e9)
    assert not learned().allows(9.6e9, 10e9)
    assert learned().allows(60e9, 80e9)


@pytest.mark.usefixtures("home")
def test_a_later_success_with_no_smaller_share_clears_a_failure() -> None:
    remember_failure(a_run(), failed_of_24(12e9))
    remember_success(a_run(), failed_of_24(11e9), None)
    assert learned().failed == failed_of_24(12e9)
    remember_success(a_run(), failed_of_24(13e9), None)
    assert learned() == NOTHING_LEARNED


@pytest.mark.usefixtures("home")
def test_a_record_of_other_versions_is_counted_and_replaced() -> None:
    remember_failure(a_run("swiftbox 0.0.1, torch 2.0.0"), failed_of_24(6e9))
    remember_success(a_run("swiftbox 0.0.1, torch 2.0.0"), None, 1.3)
    assert learned() == LearnedLimits(ignored=2)
    remember_failure(a_run(), failed_of_24(8e9))
    assert learned() == LearnedLimits(failed_of_24(8e9), ignored=1)


@pytest.mark.usefixtures("home")
def test_an_old_record_is_counted_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_failure(a_run(), failed_of_24(8e9))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + MOST_SECONDS + 60)
    assert learned() == LearnedLimits(ignored=1)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b'{"failed": "many"}', b'{"peak": {"ratio": 1}}', b"[" * 60_000],
)
def test_a_file_of_other_content_is_counted_and_not_used(home: Path, content: bytes) -> None:
    path = home / "memory" / f"{kind()}.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert learned() == LearnedLimits(ignored=1)
    remember_success(a_run(), None, 1.2)  # and it is replaced or completed
    assert learned().peak_ratio == 1.2


def observed(folder: Path, *emitted: tuple[str, dict[str, Any]]) -> LearnedLimits:
    """Return what a run with these events teaches."""
    config, profile = training(), profile_model(MODEL)
    assert profile is not None
    verdict = assess_fit(config, profile, MACHINE)
    write_json(folder / ESTIMATE, estimate_record(config, profile.shape, MACHINE, verdict))
    recorded: list[str] = []
    observer = MemoryObserver(lambda event, **_: recorded.append(event), folder)
    for event, fields in emitted:
        observer(event, **fields)
    assert recorded == [event for event, _ in emitted]
    return learned()


def test_a_run_folder_of_another_origin_names_no_file(home: Path) -> None:
    estimate = {"kind": "../../outside", "rows": 8, "standing": 1, "need": 2}
    write_json(home / ESTIMATE, estimate)
    observer = MemoryObserver(lambda _event, **_: None, home)
    observer("smaller_batch", units_before=8)
    assert not (home.parent / "outside.json").exists()
    assert [path.name for path in home.iterdir()] == [ESTIMATE]


def test_a_complete_run_teaches_the_ratio_of_its_peak(home: Path) -> None:
    profile = profile_model(MODEL)
    assert profile is not None
    allocated = assess_fit(training(), profile, MACHINE).memory.allocated
    step = (events.STEP, {"memory_bytes": round(1.25 * allocated)})
    result = observed(home, step, (events.DONE, {}))
    assert result.peak_ratio == pytest.approx(1.25, abs=1e-3)
    assert result.failed is None


def test_a_run_that_resumes_in_smaller_batches_compares_no_peak(home: Path) -> None:
    write_json(home / SPLIT, {"units": 4, "before": 8})
    result = observed(home, (events.STEP, {"memory_bytes": 10**9}), (events.DONE, {}))
    assert result == NOTHING_LEARNED


@pytest.mark.parametrize("event", [events.SMALLER_BATCH, events.OUT_OF_MEMORY])
def test_a_run_that_runs_out_of_memory_teaches_what_failed(home: Path, event: str) -> None:
    profile = profile_model(MODEL)
    assert profile is not None
    verdict = assess_fit(training(), profile, MACHINE)
    smaller = (event, {"units_before": 8, "units": 4})
    result = observed(home, smaller, (events.STEP, {"memory_bytes": 1}), (events.DONE, {}))
    failed = NeedOfFree(round(verdict.memory.peak), round(verdict.have_bytes))
    assert result == LearnedLimits(failed)
