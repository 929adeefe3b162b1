"""The question about a step that failed, by keys: change a setting, skip it, stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from box import events
from in_process import workers_here
from model_folder import write_model
from tiny import SIZES
from walking import CLEAR, CTRL_C, ENTER, choice, keys

from swiftbox.cli import run as cli_run
from swiftbox.cli.main import main
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.menu.failure_screen import continue_after_failures

CHANGE, SKIP, STOP = map(choice, range(3))


def copy(name: str, source: str, into: Path) -> dict[str, Any]:
    task = {"name": name, "task": "download", "hub": "local", "local_dir": str(into)}
    return {**task, "model": source}


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """The YAML of a pipeline whose first step fails and whose second one uses it."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    source = write_model(tmp_path / "here", **SIZES)
    steps = [
        copy("a", str(source), tmp_path / "to-a"),
        copy("b", str(source), tmp_path / "file" / "inside"),
        copy("c", "${b.model}", tmp_path / "to-c"),
    ]
    content = {"task": "pipeline", "output_dir": str(tmp_path / "out"), "steps": steps}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def failed(chain: Path, *overrides: str) -> Path:
    """Run the pipeline until its step fails; return its folder."""
    ready = record(prepare(chain, overrides))
    with workers_here():
        assert run(ready) == 1
    return ready.folder


def answer(folder: Path, *pressed: str) -> int:
    with workers_here(), keys(*pressed):
        return continue_after_failures(folder, 1)


def statuses(folder: Path) -> list[str]:
    records = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["steps"]
    return [record["status"] for record in records]


def test_stopping_keeps_what_is_done(chain: Path) -> None:
    folder = failed(chain)
    assert answer(folder, STOP) == 1
    assert answer(folder, CTRL_C) == 1
    assert statuses(folder) == ["done", "failed", "waiting"]


def test_skipping_shows_what_follows_and_continues(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = failed(chain)
    assert answer(folder, SKIP, ENTER) == 3
    assert "c is skipped: it needs ${b.model}" in capsys.readouterr().out
    assert statuses(folder) == ["done", "skipped", "skipped"]


def test_a_changed_setting_is_recorded_beside_the_old_one(chain: Path) -> None:
    folder = failed(chain)
    there = str(chain.parent / "there")
    assert answer(folder, CHANGE, "local_dir", ENTER, CLEAR, there, ENTER, ENTER) == 0
    assert statuses(folder) == ["done"] * 3
    before = folder / "steps" / "earlier" / "02-b-1" / "settled.yaml"
    now = folder / "steps" / "02-b" / "settled.yaml"
    values = [yaml.safe_load(path.read_text("utf-8"))["local_dir"] for path in (before, now)]
    assert values == [str(chain.parent / "file" / "inside"), there]
    (note,) = [event for event in events(folder, "note") if event.get("key") == "local_dir"]
    assert note["message"] == f"b: local_dir: {values[0]} -> {there}"


def test_a_refused_change_asks_again(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = failed(chain)
    shutil.rmtree(chain.parent / "here")
    there = str(chain.parent / "there")
    assert answer(folder, CHANGE, "local_dir", ENTER, CLEAR, there, ENTER, ENTER, STOP) == 1
    shown = capsys.readouterr()
    assert "error: a: no folder" in shown.out + shown.err


def test_nothing_is_asked_where_the_settings_say_stop(chain: Path) -> None:
    folder = failed(chain, "on_failure=stop")
    assert answer(folder) == 1


def test_run_asks_in_a_terminal(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_run, "can_ask", lambda _options: True)
    with workers_here(), keys(SKIP, ENTER):
        assert main(["run", str(chain)]) == 3
