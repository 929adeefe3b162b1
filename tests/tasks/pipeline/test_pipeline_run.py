"""A pipeline as a run: unchanged steps are kept; it resumes after a kill, stops, and serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from box import HANG_S, events, gone, losses, started, state, until
from box import box as box_in_child
from in_process import box, workers_here
from launching import rerun, resume
from model_folder import write_model
from openai import OpenAI
from tiny import SIZES, write_chats

from swiftbox.errors import RunError
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.runs import folder as run_folder
from swiftbox.runs.stop import Stop
from swiftbox.tasks.pipeline import run as pipeline_run
from swiftbox.tasks.pipeline.run import PipelineRun


def write(path: Path, *steps: dict[str, Any], **keys: Any) -> str:
    content = {"task": "pipeline", **keys, "steps": list(steps)}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


def copy(name: str, source: object, cwd: Path, **keys: Any) -> dict[str, Any]:
    """Return a step that takes a moment: a copy of a folder."""
    into = str(cwd / f"copy-{name}")
    task = {"name": name, "task": "download", "hub": "local", "local_dir": into}
    return {**task, "model": str(source), **keys}


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a pipeline remembers of its steps."""
    records = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["steps"]
    return {record["name"]: record for record in records}


def statuses(folder: Path) -> list[str]:
    return [record["status"] for record in steps(folder).values()]


def announced(folder: Path, since: int = 0) -> list[tuple[str, str]]:
    """Return the name of each announced step and what happens to it, from an event on."""
    parts = [event for event in events(folder)[since:] if event["event"] == "part"]
    return [(event["name"], event["says"]) for event in parts]


def go(path: str, *overrides: str) -> Path:
    """Run a pipeline and its steps in this process; return its folder."""
    ready = record(prepare(Path(path), overrides))
    folder, config = ready.folder, ready.plan.config
    with workers_here():
        PipelineRun(config, folder, partial(run_folder.append_event, folder)).run()
    run_folder.update_state(folder, status="done")
    return folder


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The YAML of a finished pipeline, whose step b copies the output of step a, and its folder."""
    monkeypatch.setattr(pipeline_run, "STOP", Stop())
    source = write_model(tmp_path / "here", **SIZES)
    chain = [copy("a", source, tmp_path), copy("b", "${a.model}", tmp_path)]
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(tmp_path / "out"))
    return path, go(path)


def test_unchanged_steps_are_kept(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    before = len(events(out))
    assert go(path) == out
    assert announced(out, before) == [("a", "kept"), ("b", "kept")]
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_a_changed_step_runs_again_with_all_that_use_it(two: tuple[str, Path]) -> None:
    path, out = two
    before = len(events(out))
    go(path, "b.ignore_patterns=x")
    assert announced(out, before) == [("a", "kept"), ("b", "begins")]
    (begin,) = [event for event in events(out)[before:] if event.get("says") == "begins"]
    assert begin["aside"] == "steps/earlier/02-b-1"
    assert (out / "steps" / "earlier" / "02-b-1" / "events.jsonl").is_file()


def test_a_changed_input_runs_all_steps_again_that_depend_on_it(
    two: tuple[str, Path], tmp_path: Path
) -> None:
    path, out = two
    (tmp_path / "here" / "more.txt").write_text("more", encoding="utf-8")
    before = len(events(out))
    go(path)
    assert announced(out, before) == [("a", "begins"), ("b", "begins")]
    assert (tmp_path / "copy-b" / "more.txt").is_file()


def test_a_step_whose_output_is_missing_runs_again(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    shutil.rmtree(tmp_path / "copy-b")
    before = len(events(out))
    go(path)
    assert announced(out, before) == [("a", "kept"), ("b", "goes on")]
    assert (tmp_path / "copy-b" / "config.json").is_file()


def test_a_model_without_its_weights_is_made_again(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    weights = tmp_path / "copy-b" / "model.safetensors"
    weights.unlink()
    before = len(events(out))
    go(path)
    assert announced(out, before) == [("a", "kept"), ("b", "goes on")]
    assert weights.is_file()
    assert steps(out)["b"]["seen"]["model"]


def test_a_finished_pipeline_resumes_with_other_settings_only(two: tuple[str, Path]) -> None:
    _, out = two
    with pytest.raises(RunError, match="out is complete"):
        resume(out)
    passed_on: list[Any] = []
    assert resume(out, ["b.ignore_patterns=x"], passed_on.append) == 0
    parts = [event["says"] for event in passed_on if event["event"] == "part"]
    assert parts == ["kept", "begins"]


def test_a_rerun_gets_a_new_folder(two: tuple[str, Path], tmp_path: Path) -> None:
    _, out = two
    assert rerun(out) == 0
    assert statuses(tmp_path / "out-2") == ["done"] * 2


def test_steps_are_runs_inside_the_run_and_can_be_inspected(
    two: tuple[str, Path], tmp_path: Path
) -> None:
    _, out = two
    folders = sorted((out / "steps").iterdir())
    assert [folder.name for folder in folders] == ["01-a", "02-b"]
    assert [state(folder)["status"] for folder in folders] == ["done"] * 2
    assert steps(out)["b"]["made"] == {"model": str(tmp_path / "copy-b")}
    (row,) = json.loads(box("runs", "list", "--json", cwd=tmp_path).stdout)
    assert (row["name"], [part["status"] for part in row["parts"]]) == ("out", ["done"] * 2)
    assert "2/2 b" in box("runs", "list", cwd=tmp_path).stdout
    shown = box("runs", "show", "out", cwd=tmp_path).stdout
    assert f"step 2 b (download): done  model: {tmp_path / 'copy-b'}" in shown
    (out / "steps" / "02-b" / "log.txt").write_text("said by b\n", encoding="utf-8")
    assert "said by b" in box("runs", "logs", "out", cwd=tmp_path).stdout
    assert "${a.model}" in (out / "settled.yaml").read_text(encoding="utf-8")


def test_a_failing_step_stops_it_and_says_how_to_resume(tmp_path: Path) -> None:
    source = write_model(tmp_path / "here", **SIZES)
    (tmp_path / "file").write_text("", encoding="utf-8")
    chain = [copy(name, source, tmp_path) for name in "abc"]
    chain[1]["local_dir"] = str(tmp_path / "file" / "inside")  # fails when it is written
    out = tmp_path / "out"
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(out))
    failed = box("run", path, "--plain", cwd=tmp_path, code=1)
    assert "== step 2/3 b" in failed.stderr
    assert "error: b: " in failed.stderr
    assert f"`swiftbox runs resume {out}` continues with b; add b.key=value" in failed.stderr
    assert statuses(out) == ["done", "failed", "waiting"]
    assert state(out)["status"] == "failed"
    before = len(events(out))
    override = f"b.local_dir={tmp_path / 'there'}"
    done = box("runs", "resume", str(out), override, "--plain", cwd=tmp_path)
    assert announced(out, before) == [("a", "kept"), ("b", "begins"), ("c", "begins")]
    assert "== step 1/3 a: unchanged, kept" in done.stderr
    assert "previous result kept in steps/earlier/02-b-1" in done.stderr


def test_a_refused_pipeline_starts_nothing(tmp_path: Path) -> None:
    chain = [copy("a", "x", tmp_path), {"name": "m", "task": "merge", "adapter": str(tmp_path)}]
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(tmp_path / "out"))
    done = box("run", path, cwd=tmp_path, code=2)
    assert "error: a: no folder x\nm: adapter:" in done.stderr
    assert not (tmp_path / "out").exists()


def real(tiny: Path, cwd: Path) -> list[dict[str, Any]]:
    """Return the steps of a chain with a real training, merge and server."""
    train = {
        "name": "train", "task": "train", "model": str(tiny), "hub": "local",
        "dataset": str(write_chats(cwd / "chat.jsonl", 24)), "max_length": 64, "max_steps": 60,
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "save_steps": 5,
        "report_to": "none", "dtype": "float32",
    }  # fmt: skip
    merge = {"name": "merge", "task": "merge", "adapter": "${train.adapter}"}
    serve = {
        "name": "serve", "task": "deploy", "model": "${merge.model}", "port": 0,
        "engine": "builtin", "served_model_name": "mine",
    }  # fmt: skip
    return [train, merge, serve]


def children(folder: Path) -> list[int]:
    """Return the process ids that the pipeline and its steps have recorded."""
    states = [state(run) for run in (folder, *(folder / "steps").glob("*"))]
    return [recorded["pid"] for recorded in states if "pid" in recorded]


def answer_of(url: str) -> str:
    """Ask the server of a pipeline something; return how its answer finished."""
    with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        pieces = client.chat.completions.create(
            model="mine", messages=messages, max_tokens=4, stream=True
        )
        return str([piece.choices[0].finish_reason for piece in pieces][-1])


def resume_messages(training: Path) -> list[str]:
    notes = events(training, "note")
    return [note["message"] for note in notes if note.get("key") == "resume"]


@pytest.mark.slow
def test_killed_in_two_steps_it_resumes_serves_and_stops(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = write(tmp_path / "p.yaml", *real(tiny, tmp_path), output_dir=str(out))
    training, merging = out / "steps" / "01-train", out / "steps" / "02-merge"

    with started("run", path, "--plain", cwd=tmp_path) as process:
        until(lambda: len(losses(training)) >= 12, what="a checkpoint in the training")
        os.kill(state(out)["pid"], signal.SIGKILL)  # the worker of the pipeline
        process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    until(lambda: all(map(gone, children(out))), what="the end of all processes")
    assert not (training / "model").exists()
    first = losses(training)

    with started("runs", "resume", str(out), "--plain", cwd=tmp_path) as process:
        until((merging / "log.txt").is_file, what="the merge")
        assert steps(out)["train"]["status"] == "done"
        process.send_signal(signal.SIGKILL)  # the supervisor
    until(lambda: all(map(gone, children(out))), what="the end of all processes")
    assert resume_messages(training)[0].startswith("resumes from checkpoint-")
    again = losses(training)
    assert sorted(again) == list(range(1, 61))
    assert all(again[step] == loss for step, loss in first.items())

    before = len(events(out))
    box_in_child("runs", "resume", str(out), "--detach", cwd=tmp_path)
    try:
        url = until(lambda: state(out).get("url"), what="the address")
        (row,) = json.loads(box_in_child("runs", "list", "--json", cwd=tmp_path).stdout)
        assert (row["url"], row["health"], row["status"]) == (url, "ok", "running")
        assert answer_of(url) in ("stop", "length")
        running = [pid for pid in children(out) if not gone(pid)]
    finally:
        box_in_child("runs", "stop", str(out), cwd=tmp_path)
    assert all(map(gone, running))
    assert announced(out, before)[0] == ("train", "kept")
    assert statuses(out) == ["done", "done", "stopped"]
    assert (state(out)["status"], state(out)["url"]) == ("stopped", None)


@pytest.mark.slow
def test_a_server_runs_beside_the_steps_that_use_it(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    serve = {
        "name": "serve", "task": "deploy", "model": str(tiny), "hub": "local", "port": 0,
        "engine": "builtin", "served_model_name": "mine",
    }  # fmt: skip
    talk = {
        "name": "talk", "task": "chat", "endpoint": "${serve.url}/v1", "model": "mine",
        "prompt": "hi", "max_tokens": 3,
    }  # fmt: skip
    after = copy("after", write_model(tmp_path / "here", **SIZES), tmp_path)
    path = write(tmp_path / "p.yaml", serve, talk, after, output_dir=str(out))
    done = box("run", path, "--plain", cwd=tmp_path, steps_in_children=True)
    assert "== step 1/3 serve: serving for talk" in done.stderr
    answers = json.loads(Path(steps(out)["talk"]["made"]["answers"]).read_text("utf-8"))["answers"]
    assert [answer["prompt"] for answer in answers] == ["hi"]
    of_steps = [event for event in events(out) if event["event"] in ("part", "inner")]
    assert of_steps[0]["event"] == "part"
    assert (
        state(out / "steps" / "01-serve")["ended"] <= state(out / "steps" / "03-after")["started"]
    )
    assert statuses(out) == ["done"] * 3
    before = len(events(out))
    box("run", path, "--plain", cwd=tmp_path)
    assert announced(out, before) == [("serve", "kept"), ("talk", "kept"), ("after", "kept")]
