"""A recorded launch is run in the background without being planned again, stopped and followed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from box import until
from model_folder import write_model

from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import Ready, record
from swiftbox.launch.run import follow, run, stop
from swiftbox.runs import folder as run_folder


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """The recorded copy of a small folder."""
    monkeypatch.chdir(tmp_path)
    source = write_model(tmp_path / "source")
    settings = ["task=download", "hub=local", f"model={source}", "local_dir=copy"]
    return record(prepare(None, [*settings, "output_dir=out"]))


def test_a_detached_supervisor_loads_neither_the_planner_nor_the_tasks() -> None:
    code = (
        "import sys, swiftbox.launch.run\n"
        "print([name for name in sys.modules if name in ('swiftbox.plan', 'swiftbox.tasks')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_detached_run_outlives_the_call_and_is_followed_to_its_end(ready: Ready) -> None:
    assert run(ready, detach=True) == 0
    names: list[str] = []
    assert follow(ready.folder, lambda event: names.append(event["event"])) == 0
    assert names[-1] == "done"
    until(lambda: run_folder.find("out").status == "done", what="the recorded end")
    assert Path("copy", "config.json").is_file()


def test_stopping_a_run_that_has_ended_succeeds_at_once(ready: Ready) -> None:
    assert run(ready) == 0
    assert stop(ready.folder)
    assert not (ready.folder / "stop").exists()
