"""A killed run continues bit for bit: LoRA with dropout, accumulation, an epoch border."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from asked_here import share_answers
from box import box as box_in_child
from box import events, gone, last_step, losses, started, state, until
from in_process import box
from tiny import write_chats, write_config

from swiftbox.runs.folder import update_state

pytestmark = pytest.mark.slow

STEPS, KILLED_AT = 20, 16


@pytest.fixture(scope="module")
def runs(
    shared_home: Path, tmp_path_factory: pytest.TempPathFactory, tiny: Path
) -> tuple[Path, Path]:
    """An uninterrupted run of 20 steps (2 epochs of 10), and the same one killed at step 16."""
    root = tmp_path_factory.mktemp("resume")
    data = write_chats(root / "chat.jsonl", 80)
    keys = {
        "lora_dropout": 0.1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": STEPS,
        "save_steps": 5,
        "save_total_limit": 3,
    }
    uninterrupted, cut = root / "whole", root / "cut"
    for folder in (uninterrupted, cut):
        write_config(root / f"{folder.name}.yaml", tiny, data, output_dir=str(folder), **keys)
    os.environ["SWIFTBOX_HOME"] = str(root / "home")
    share_answers(root / "home", shared_home)
    box_in_child("run", "whole.yaml", "--plain", cwd=root)
    with started("run", "cut.yaml", "--plain", cwd=root) as front:
        until(lambda: last_step(cut) >= KILLED_AT, what="step 16")
        pid = state(cut)["pid"]
        os.kill(front.pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid), what="the end of the child")
    assert last_step(cut) < STEPS
    return uninterrupted, cut


def resumed(cut: Path, folder: Path) -> None:
    if not folder.exists():
        shutil.copytree(cut, folder)
    box("runs", "resume", str(folder), "--plain", "--yes", cwd=folder.parent)  # of another home


def assert_same(uninterrupted: Path, folder: Path, *, since: int) -> None:
    assert events(folder, "start")[-1]["resumed_from"] == since
    expected, actual = losses(uninterrupted), losses(folder)
    assert [actual[step] for step in range(since + 1, STEPS + 1)] == [
        expected[step] for step in range(since + 1, STEPS + 1)
    ]
    for name in ("model/adapter_model.safetensors", "model/adapter_config.json"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_a_killed_run_continues_in_the_middle_of_an_epoch(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    uninterrupted, cut = runs
    resumed(cut, tmp_path / "middle")
    assert_same(uninterrupted, tmp_path / "middle", since=15)


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_no_step_is_trained_beyond_the_last_one_when_a_run_resumes_there(
    tuner: str, tmp_path: Path, tiny: Path
) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 40)
    run = tmp_path / "run"
    keys = {"output_dir": str(run), "tuner_type": tuner, "max_steps": 3, "save_steps": 3}
    path = write_config(tmp_path / "a.yaml", tiny, data, **keys)
    box("run", str(path), "--plain", cwd=tmp_path)
    trained = {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    mean = events(run, "done")[-1]["loss"]
    shutil.rmtree(run / "model")  # as if killed between the last checkpoint and the result
    update_state(run, status="failed")
    box("runs", "resume", str(run), "--plain", cwd=tmp_path)
    assert [event["step"] for event in events(run, "step")] == [1, 2, 3]
    assert {file.name: file.read_bytes() for file in (run / "model").iterdir()} == trained
    assert events(run, "done")[-1]["steps"] == 3
    assert events(run, "done")[-1]["loss"] == pytest.approx(mean, rel=1e-6)


def test_a_torn_newest_checkpoint_is_skipped_for_the_one_at_the_epoch_border(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    uninterrupted, cut = runs
    folder = tmp_path / "torn"
    shutil.copytree(cut, folder)
    with (folder / "checkpoints" / "checkpoint-15" / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    resumed(cut, folder)
    assert_same(uninterrupted, folder, since=10)
    messages = [event["message"] for event in events(folder, "warning")]
    assert "checkpoint-15 is incomplete and is not used" in messages


def test_a_checkpoint_without_its_marker_is_ignored(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    uninterrupted, cut = runs
    folder = tmp_path / "unmarked"
    shutil.copytree(cut, folder)
    (folder / "checkpoints" / "checkpoint-15" / "complete.json").unlink()
    (folder / "checkpoints" / "checkpoint-10" / "complete.json").unlink()
    resumed(cut, folder)
    assert_same(uninterrupted, folder, since=5)


def test_another_rank_is_refused_with_both_values(runs: tuple[Path, Path], tmp_path: Path) -> None:
    _, cut = runs
    folder = tmp_path / "rank"
    shutil.copytree(cut, folder)
    refused = box("runs", "resume", str(folder), "lora_rank=32", cwd=tmp_path, code=2)
    assert "lora_rank: checkpoint-15 was made with 8, now 32 is requested" in refused.stderr
    assert "hint:" in refused.stderr


def test_data_that_changed_since_the_checkpoint_is_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    _, cut = runs
    folder = tmp_path / "changed"
    shutil.copytree(cut, folder)
    inputs = json.loads((folder / "inputs.json").read_text("utf-8"))
    inputs["dataset_sha256"] = "0" * 64
    (folder / "inputs.json").write_text(json.dumps(inputs), "utf-8")
    refused = box("runs", "resume", str(folder), "--plain", "--yes", cwd=tmp_path, code=2)
    assert "dataset: changed since the checkpoint" in refused.stderr


def test_the_record_holds_absolute_paths(runs: tuple[Path, Path]) -> None:
    uninterrupted, _ = runs
    settled = yaml.safe_load((uninterrupted / "settled.yaml").read_text("utf-8"))
    assert Path(settled["dataset"]).is_absolute()
    assert Path(settled["model"]).is_absolute()


def test_a_complete_run_is_not_resumed(runs: tuple[Path, Path]) -> None:
    uninterrupted, _ = runs
    refused = box("runs", "resume", str(uninterrupted), cwd=uninterrupted.parent, code=2)
    assert "whole is complete" in refused.stderr


def test_only_the_newest_checkpoints_remain(runs: tuple[Path, Path]) -> None:
    uninterrupted, _ = runs
    checkpoints = sorted(path.name for path in (uninterrupted / "checkpoints").iterdir())
    assert checkpoints == ["checkpoint-10", "checkpoint-15", "checkpoint-20"]


def test_the_settled_yaml_repeats_the_run_bit_for_bit(runs: tuple[Path, Path]) -> None:
    uninterrupted, _ = runs
    box(
        "run",
        str(uninterrupted / "settled.yaml"),
        "--plain",
        "max_steps=2",
        "save_steps=0",
        cwd=uninterrupted.parent,
    )
    again = uninterrupted.with_name("whole-2")
    assert losses(again)[1] == losses(uninterrupted)[1]
