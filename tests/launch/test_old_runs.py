"""Run folders of an earlier version are listed, shown, resumed and repeated.

old_runs/ was written by version 0.1.0 before its modules were moved: a finished training, one that
was stopped at step 23 of 70, a pipeline of two downloads, and a download. All paths in it start
with ROOT, which exists on no machine; a test copies the folders and replaces it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from box import events
from in_process import box
from prose_laws import CHINESE

from swiftbox.cli.main import main
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.runs import folder as run_folder
from swiftbox.tasks.load import load
from swiftbox.tasks.pipeline import state
from swiftbox.tasks.pipeline.fingerprint import fingerprint

OLD_RUNS = Path(__file__).with_name("old_runs")
ROOT = "/old-runs-root"

FINGERPRINTS = {"a": "16214e22c2571eeb", "b": "bd01d134a700fd76"}
"""What version 0.1.0 computed for the steps of the pipeline, with finished=1.0 for each."""


@pytest.fixture
def old(tmp_path: Path, tiny: Path) -> Path:
    """The folder that holds the old runs, under paths of this machine and known to `runs list`."""
    root = tmp_path / "old"
    shutil.copytree(OLD_RUNS, root)
    shutil.copytree(tiny, root / "model")
    for path in root.rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl", ".txt") and path.is_file():
            path.write_text(path.read_text("utf-8").replace(ROOT, str(root)), encoding="utf-8")
    reseal(root / "stopped" / "checkpoints" / "checkpoint-23")
    restore_fingerprints(root / "pipeline", root)
    for name in ("finished", "stopped", "pipeline", "downloaded"):
        run_folder.register(root / name)
    return root


def reseal(checkpoint: Path) -> None:
    """Record the new sizes of the files that name paths."""
    seal = json.loads((checkpoint / run_folder.COMPLETE).read_text("utf-8"))
    seal["files"] = {name: (checkpoint / name).stat().st_size for name in seal["files"]}
    (checkpoint / run_folder.COMPLETE).write_text(json.dumps(seal), encoding="utf-8")


def restore_fingerprints(folder: Path, root: Path) -> None:
    """Restore the times of the weights, which git does not keep, and adapt to the new paths."""
    records = state.read(folder)
    for record in records.values():
        for name, *file_state in record.identities["model"]:
            if name.endswith(".safetensors"):
                os.utime(Path(record.outputs["model"], name), ns=(file_state[1], file_state[1]))
    for step in pipeline_of(folder).steps:
        records[step.name].fingerprint = fingerprint(step, records)
    assert (root / "source").is_dir()  # its content is part of the first fingerprint
    state.write(folder, records)


def pipeline_of(folder: Path) -> PipelineConfig:
    config = load(folder / run_folder.SETTLED).config
    assert isinstance(config, PipelineConfig)
    return config


def show(root: Path, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(box("runs", "show", name, "--json", cwd=root).stdout)
    return shown


def test_the_fingerprints_of_steps_are_those_of_the_old_version() -> None:
    records: dict[str, state.StepRecord] = {}
    for step in pipeline_of(OLD_RUNS / "pipeline").steps:
        record = state.StepRecord(step.name, step.config.task, "", finished=1.0)
        record.fingerprint = fingerprint(step, records)
        records[step.name] = record
    assert {name: record.fingerprint for name, record in records.items()} == FINGERPRINTS


def test_old_runs_are_listed(old: Path) -> None:
    rows = json.loads(box("runs", "list", "--json", cwd=old).stdout)
    statuses = {row["name"]: row["status"] for row in rows}
    assert statuses == {
        "finished": "done",
        "stopped": "stopped",
        "pipeline": "done",
        "downloaded": "done",
    }
    by_name = {row["name"]: row for row in rows}
    assert (by_name["finished"]["step"], by_name["finished"]["total_steps"]) == (2, 2)
    assert [part["status"] for part in by_name["pipeline"]["parts"]] == ["done", "done"]
    assert "finished" in box("runs", "list", cwd=old).stdout


def test_old_runs_are_shown(old: Path) -> None:
    assert show(old, "finished")["model"] == str(old / "finished" / "model")
    assert show(old, "finished")["ending"]["event"] == "done"
    stopped = show(old, "stopped")
    assert stopped["checkpoints"] == ["checkpoint-23"]
    assert (stopped["ending"]["event"], stopped["ending"]["step"]) == ("stopped", 23)
    assert show(old, "downloaded")["ending"]["fetched"] == 1
    plain = box("runs", "show", "pipeline", cwd=old).stdout
    assert f"step 2 b (download): done  model: {old / 'copy-b'}" in plain
    assert "done: 2 steps" in box("runs", "logs", "-f", "finished", "--plain", cwd=old).stderr


def test_a_run_is_shown_in_chinese(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    main(["runs", "show", str(old / "stopped")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["名称：stopped", "状态：已停止", "步数：23"]
    assert [line for line in lines if not CHINESE.search(line)] == []
    assert "检查点：checkpoint-23" in lines


@pytest.mark.parametrize("name", ["finished", "pipeline", "downloaded"])
def test_a_complete_old_run_is_not_resumed(old: Path, name: str) -> None:
    refused = box("runs", "resume", name, cwd=old, code=2)
    assert f"{name} is complete" in refused.stderr


@pytest.mark.slow
def test_an_old_training_resumes_from_its_checkpoint(old: Path) -> None:
    box("runs", "resume", "stopped", "--plain", "--yes", cwd=old)
    assert events(old / "stopped", "start")[-1]["resumed_from"] == 23
    steps = [event["step"] for event in events(old / "stopped", "step")]
    assert sorted(set(steps)) == list(range(1, 71))
    assert show(old, "stopped")["status"] == "done"


def test_an_old_training_refuses_other_settings(old: Path) -> None:
    refused = box("runs", "resume", "stopped", "lora_rank=4", cwd=old, code=2)
    assert "lora_rank: checkpoint-23 was made with 2, now 4 is requested" in refused.stderr


@pytest.mark.parametrize(("verb", "name"), [("resume", "stopped"), ("rerun", "downloaded")])
def test_an_old_run_is_asked_for_since_it_is_not_signed(old: Path, verb: str, name: str) -> None:
    refused = box("runs", verb, name, cwd=old, code=2).stderr
    assert "versions before this one did not sign their runs" in refused
    assert "--yes" in refused


def test_an_old_pipeline_resumes_and_keeps_the_unchanged_step(old: Path) -> None:
    before = len(events(old / "pipeline", "part"))
    box("runs", "resume", "pipeline", "b.ignore_patterns=x", "--plain", "--yes", cwd=old)
    parts = events(old / "pipeline", "part")[before:]
    assert parts[0]["says"] == "kept"
    assert [part["name"] for part in parts] == ["a", "b"]
    assert show(old, "pipeline")["status"] == "done"


@pytest.mark.parametrize("name", ["pipeline", "downloaded"])
def test_an_old_run_is_repeated_in_a_new_folder(old: Path, name: str) -> None:
    box("runs", "rerun", name, "--plain", "--yes", cwd=old)
    assert show(old, f"{name}-2")["status"] == "done"


@pytest.mark.slow
def test_an_old_training_is_repeated_in_a_new_folder(old: Path) -> None:
    box("runs", "rerun", "finished", "--plain", "--yes", cwd=old)
    repeated, finished = (
        [event["loss"] for event in events(old / name, "step")]
        for name in ("finished-2", "finished")
    )
    assert len(repeated) == len(finished) == 2
    assert (old / "finished-2" / "model" / "adapter_model.safetensors").is_file()
