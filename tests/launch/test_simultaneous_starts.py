"""Two starts in the same run folder: the second one changes nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest
from file_trees import tree
from model_folder import write_model

from swiftbox.errors import RunError
from swiftbox.launch.prepare import prepare, prepare_resume
from swiftbox.launch.record import record
from swiftbox.runs import folder as run_folder


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped run of this user with an unfinished checkpoint."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "source")
    settings = ["task=download", "hub=local", "model=source", "local_dir=copy", "output_dir=mine"]
    folder = record(prepare(None, settings)).folder
    run_folder.update_state(folder, status="stopped", pid=None, supervisor=None)
    (folder / run_folder.CHECKPOINTS / run_folder.PARTIAL).mkdir(parents=True)
    return folder


def test_a_resume_writes_nothing_while_another_start_has_the_lock(stopped: Path) -> None:
    prepared = prepare_resume(stopped)
    with run_folder.run_lock(stopped):
        before = tree(stopped)
        with pytest.raises(RunError, match="is still running"):
            record(prepared)
        assert tree(stopped) == before
    assert record(prepared).folder == stopped


def test_a_second_resume_is_refused_before_the_first_one_has_a_process(stopped: Path) -> None:
    first, second = prepare_resume(stopped), prepare_resume(stopped)
    record(first)
    before = tree(stopped)
    with pytest.raises(RunError, match="is still running"):
        record(second)
    assert tree(stopped) == before
