"""A pipeline as a run: kept while unchanged, cut anywhere and gone on with, stopped, served."""

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
from box import box, events, gone, losses, started, state, until
from launching import rerun, resume
from model_folder import write_model
from openai import OpenAI
from tiny import SIZES, write_chats

from swiftbox.errors import RunError
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import is_alive
from swiftbox.runs.stop import Stop
from swiftbox.tasks.pipeline import run as pipeline_run
from swiftbox.tasks.pipeline.run import Pipeline


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
    found = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["steps"]
    return {one["name"]: one for one in found}


def statuses(folder: Path) -> list[str]:
    return [one["status"] for one in steps(folder).values()]


def said(folder: Path, since: int = 0) -> list[tuple[str, str]]:
    """Return what was said of each step, of all since the event of that number."""
    return [(one["name"], one["says"]) for one in events(folder)[since:] if one["event"] == "part"]


def go(path: str, *overrides: str) -> Path:
    """Carry a pipeline out in this process, its steps in children; return its folder."""
    ready = record(prepare(Path(path), overrides))
    folder, config = ready.folder, ready.plan.config
    Pipeline(config, folder, partial(run_folder.append_event, folder)).carry_out()
    run_folder.update_state(folder, status="done")
    return folder


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A pipeline of copies, b of what a made, that was carried out, and its folder."""
    monkeypatch.setattr(pipeline_run, "STOP", Stop())
    source = write_model(tmp_path / "here", **SIZES)
    chain = [copy("a", source, tmp_path), copy("b", "${a.model}", tmp_path)]
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(tmp_path / "out"))
    return path, go(path)


def test_run_again_what_is_unchanged_is_kept(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    before = len(events(out))
    assert go(path) == out
    assert said(out, before) == [("a", "kept"), ("b", "kept")]
    assert [one.name for one in tmp_path.glob("out*")] == ["out"]


def test_a_changed_step_is_done_anew_with_all_that_use_it(two: tuple[str, Path]) -> None:
    path, out = two
    before = len(events(out))
    go(path, "b.ignore_patterns=x")
    assert said(out, before) == [("a", "kept"), ("b", "begins")]
    (told,) = [one for one in events(out)[before:] if one.get("says") == "begins"]
    assert told["aside"] == "steps/earlier/02-b-1"
    assert (out / "steps" / "earlier" / "02-b-1" / "events.jsonl").is_file()


def test_a_changed_input_does_all_anew_that_come_from_it(
    two: tuple[str, Path], tmp_path: Path
) -> None:
    path, out = two
    (tmp_path / "here" / "more.txt").write_text("more", encoding="utf-8")
    before = len(events(out))
    go(path)
    assert said(out, before) == [("a", "begins"), ("b", "begins")]
    assert (tmp_path / "copy-b" / "more.txt").is_file()


def test_what_a_step_made_and_is_gone_is_made_again(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    shutil.rmtree(tmp_path / "copy-b")
    before = len(events(out))
    go(path)
    assert said(out, before) == [("a", "kept"), ("b", "goes on")]
    assert (tmp_path / "copy-b" / "config.json").is_file()


def test_a_model_that_lost_its_weights_is_made_again(two: tuple[str, Path], tmp_path: Path) -> None:
    path, out = two
    weights = tmp_path / "copy-b" / "model.safetensors"
    weights.unlink()
    before = len(events(out))
    go(path)
    assert said(out, before) == [("a", "kept"), ("b", "goes on")]
    assert weights.is_file()
    assert steps(out)["b"]["seen"]["model"]


def test_a_finished_one_goes_on_with_other_settings_only(two: tuple[str, Path]) -> None:
    _, out = two
    with pytest.raises(RunError, match="out is complete"):
        resume(out)
    heard: list[Any] = []
    assert resume(out, ["b.ignore_patterns=x"], heard.append) == 0
    assert [one["says"] for one in heard if one["event"] == "part"] == ["kept", "begins"]


def test_a_rerun_lies_in_a_folder_of_its_own(two: tuple[str, Path], tmp_path: Path) -> None:
    _, out = two
    assert rerun(out) == 0
    assert statuses(tmp_path / "out-2") == ["done"] * 2


def test_steps_are_runs_inside_the_run_that_one_can_look_at(
    two: tuple[str, Path], tmp_path: Path
) -> None:
    _, out = two
    assert [one.name for one in sorted((out / "steps").iterdir())] == ["01-a", "02-b"]
    assert all(state(one)["status"] == "done" for one in (out / "steps").iterdir())
    assert steps(out)["b"]["made"] == {"model": str(tmp_path / "copy-b")}
    (row,) = json.loads(box("runs", "list", "--json", cwd=tmp_path).stdout)
    assert (row["name"], [one["status"] for one in row["parts"]]) == ("out", ["done"] * 2)
    assert "2/2 b" in box("runs", "list", cwd=tmp_path).stdout
    shown = box("runs", "show", "out", cwd=tmp_path).stdout
    assert f"step 2 b (download): done  model: {tmp_path / 'copy-b'}" in shown
    (out / "steps" / "02-b" / "log.txt").write_text("said by b\n", encoding="utf-8")
    assert "said by b" in box("runs", "logs", "out", cwd=tmp_path).stdout
    assert "${a.model}" in (out / "settled.yaml").read_text(encoding="utf-8")


def test_a_failing_step_stops_it_and_says_how_to_go_on(tmp_path: Path) -> None:
    source = write_model(tmp_path / "here", **SIZES)
    (tmp_path / "file").write_text("", encoding="utf-8")
    chain = [copy(name, source, tmp_path) for name in "abc"]
    chain[1]["local_dir"] = str(tmp_path / "file" / "inside")  # which is found when it is written
    out = tmp_path / "out"
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(out))
    failed = box("run", path, "--plain", cwd=tmp_path, code=1)
    assert "== step 2/3 b" in failed.stderr
    assert "error: b: " in failed.stderr
    assert f"`swiftbox runs resume {out}` goes on with b; b.key=value behind" in failed.stderr
    assert statuses(out) == ["done", "failed", "waiting"]
    assert state(out)["status"] == "failed"
    before = len(events(out))
    mended = f"b.local_dir={tmp_path / 'there'}"
    done = box("runs", "resume", str(out), mended, "--plain", cwd=tmp_path)
    assert said(out, before) == [("a", "kept"), ("b", "begins"), ("c", "begins")]
    assert "== step 1/3 a: unchanged, kept" in done.stderr
    assert "previous result kept in steps/earlier/02-b-1" in done.stderr


def test_what_is_refused_starts_nothing(tmp_path: Path) -> None:
    chain = [copy("a", "x", tmp_path), {"name": "m", "task": "merge", "adapter": str(tmp_path)}]
    path = write(tmp_path / "p.yaml", *chain, output_dir=str(tmp_path / "out"))
    done = box("run", path, cwd=tmp_path, code=2)
    assert "error: m: adapter:" in done.stderr
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
    """Return the pids that the pipeline and its steps have named as their own."""
    places = [folder, *(folder / "steps").glob("*")]
    return [state(one)["pid"] for one in places if "pid" in state(one)]


@pytest.mark.slow
def test_killed_in_two_steps_it_goes_on_serves_and_stops(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = write(tmp_path / "p.yaml", *real(tiny, tmp_path), output_dir=str(out))
    training, merging = out / "steps" / "01-train", out / "steps" / "02-merge"

    with started("run", path, "--plain", cwd=tmp_path) as process:
        until(lambda: len(losses(training)) >= 12, what="a checkpoint in the training")
        os.kill(state(out)["pid"], signal.SIGKILL)  # the worker of the pipeline
        process.communicate(timeout=60)
    assert process.returncode == 1
    until(lambda: all(map(gone, children(out))), what="the end of all processes")
    assert not (training / "model").exists()
    first = losses(training)

    with started("runs", "resume", str(out), "--plain", cwd=tmp_path) as process:
        until((merging / "log.txt").is_file, what="the merge")
        assert steps(out)["train"]["status"] == "done"
        process.send_signal(signal.SIGKILL)  # the supervisor
    until(lambda: all(map(gone, children(out))), what="the end of all processes")
    resumed = [one["message"] for one in events(training, "note") if one.get("key") == "resume"]
    assert resumed
    assert resumed[0].startswith("resumes from checkpoint-")
    again = losses(training)
    assert sorted(again) == list(range(1, 61))
    assert all(again[step] == loss for step, loss in first.items())

    before = len(events(out))
    box("runs", "resume", str(out), "--detach", cwd=tmp_path)
    try:
        url = until(lambda: state(out).get("url"), what="the address")
        (row,) = json.loads(box("runs", "list", "--json", cwd=tmp_path).stdout)
        assert (row["url"], row["health"], row["status"]) == (url, "ok", "running")
        with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            talk: Any = [{"role": "user", "content": "hi"}]
            pieces = client.chat.completions.create(
                model="mine", messages=talk, max_tokens=4, stream=True
            )
            assert [one.choices[0].finish_reason for one in pieces][-1] in ("stop", "length")
        running = [one for one in children(out) if is_alive(one)]
    finally:
        box("runs", "stop", str(out), cwd=tmp_path)
    assert all(map(gone, running))
    assert said(out, before)[0] == ("train", "kept")
    assert statuses(out) == ["done", "done", "stopped"]
    assert (state(out)["status"], state(out)["url"]) == ("stopped", None)


@pytest.mark.slow
def test_a_server_goes_on_beside_for_as_long_as_steps_use_it(tiny: Path, tmp_path: Path) -> None:
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
    done = box("run", path, "--plain", cwd=tmp_path)
    assert "== step 1/3 serve: serving for talk" in done.stderr
    answers = json.loads(Path(steps(out)["talk"]["made"]["answers"]).read_text("utf-8"))["answers"]
    assert [one["prompt"] for one in answers] == ["hi"]
    order = [one["event"] for one in events(out) if one["event"] in ("part", "inner")]
    assert order[0] == "part"
    assert (
        state(out / "steps" / "01-serve")["ended"] <= state(out / "steps" / "03-after")["started"]
    )
    assert statuses(out) == ["done"] * 3
    before = len(events(out))
    box("run", path, "--plain", cwd=tmp_path)
    assert said(out, before) == [("serve", "kept"), ("talk", "kept"), ("after", "kept")]
