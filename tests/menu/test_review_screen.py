"""The review: prepared once, kept while nothing changes, and handed to the run as it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_folder import write_model
from tiny import write_chats
from walking import CLEAR, CTRL_C, DOWN, ENTER, choice, keys

from swiftbox.launch import prepare
from swiftbox.launch.record import Ready
from swiftbox.menu import actions
from swiftbox.menu.draft import Draft, new_draft
from swiftbox.menu.questions import Back
from swiftbox.menu.review_screen import review, show
from swiftbox.menu.screens import screen_of
from swiftbox.tasks import training_check

RUN, DETACH, CHANGE, EDIT, SAVE = map(choice, range(5))
FIRST_SETTING, DONE = DOWN + ENTER, ENTER
SCREEN = screen_of("train")


@pytest.fixture
def draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draft:
    """A training on three rows; whether it fits depends on the machine and is left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare, "estimate", lambda *_: None)
    write_model(tmp_path / "model")
    write_chats(tmp_path / "chat.jsonl", 3)
    return new_draft("train", {"model": "./model", "dataset": "./chat.jsonl"})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a YAML is planned, the machine probed and the rows of a training read."""
    counts: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    counted(prepare, "plan")
    counted(prepare, "probe")
    counted(training_check, "check_rows")
    return counts


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Ready]:
    """The runs that the menu starts; none is carried out."""
    runs: list[Ready] = []

    def run(ready: Ready, **_: object) -> int:
        runs.append(ready)
        return 0

    monkeypatch.setattr(actions, "run", run)
    return runs


ONCE = {"plan": 2, "probe": 1, "check_rows": 1}
"""Of one preparation: its plan is made before and after the rows are read."""


def test_from_review_to_run_a_yaml_is_planned_once_and_its_rows_are_read_once(
    draft: Draft, calls: Counter[str], started: list[Ready]
) -> None:
    change_nothing = [CHANGE, DONE]
    with keys(*change_nothing, SAVE, ENTER, RUN):
        folder = review(draft, SCREEN)
    assert dict(calls) == ONCE
    (ready,) = started
    assert ready.folder == folder
    assert ready.prepared.rows is not None


def test_a_run_in_the_background_is_handed_the_same_plan(
    draft: Draft, calls: Counter[str], started: list[Ready]
) -> None:
    with keys(DETACH, ENTER, ENTER):
        review(draft, SCREEN)
    assert dict(calls) == ONCE
    assert len(started) == 1


def test_a_changed_setting_is_planned_again(draft: Draft, calls: Counter[str]) -> None:
    change_seed = [CHANGE, "seed", ENTER, CLEAR, "7", ENTER, DONE]
    with keys(*change_seed, CTRL_C), pytest.raises(Back):
        review(draft, SCREEN)
    assert calls["plan"] == 4


def test_a_changed_data_file_is_read_again(draft: Draft, calls: Counter[str]) -> None:
    first = show(draft, SCREEN, None)
    assert show(draft, SCREEN, first) is first
    write_chats(Path("chat.jsonl"), 5)
    second = show(draft, SCREEN, first)
    assert second is not None
    assert second.rows is not None
    assert second.rows.rows == 5
    assert calls["check_rows"] == 2


@pytest.mark.slow
def test_an_unchanged_review_of_300000_rows_is_painted_in_a_tenth_of_a_second(
    draft: Draft, calls: Counter[str]
) -> None:
    row = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'
    Path("chat.jsonl").write_text(f"{row}\n" * 300_000)
    prepared = show(draft, SCREEN, None)
    seconds = []
    for _ in range(5):
        start = time.process_time()  # of this process: a busy machine changes nothing
        assert show(draft, SCREEN, prepared) is prepared
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1
    assert dict(calls) == ONCE
