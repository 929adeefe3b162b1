"""pipeline.json is read whichever version wrote it."""

from __future__ import annotations

from pathlib import Path

from swiftbox.files import write_json
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.pipeline import state
from swiftbox.tasks.pipeline.state import StepRecord

REQUIRED = {"name": "a", "task": "merge", "folder": "steps/01-a"}


def test_a_step_without_its_optional_keys_has_their_defaults(tmp_path: Path) -> None:
    write_json(tmp_path / run_folder.PIPELINE, {"steps": [REQUIRED]})
    assert state.read(tmp_path) == {"a": StepRecord("a", "merge", "steps/01-a")}


def test_a_written_step_is_read_back(tmp_path: Path) -> None:
    record = StepRecord(
        "a", "merge", "steps/01-a", state.DONE, "mark", 2.0, 1.0, {"model": "/m"}, {"model": []}
    )
    state.write(tmp_path, {"a": record})
    assert state.read(tmp_path) == {"a": record}


def test_keys_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    write_json(tmp_path / run_folder.PIPELINE, {"steps": [{**REQUIRED, "colour": "red"}]})
    assert state.read(tmp_path)["a"].status == state.WAITING
