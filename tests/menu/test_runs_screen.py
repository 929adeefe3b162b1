"""My runs by keys: from a finished run to the YAML of the next step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from adapters import make_adapter, make_run
from in_process import box
from tiny import write_chats, write_config
from walking import CTRL_C, DOWN, ENTER, RUNS, UP, choice, finished_run, keys, walk

from swiftbox.files import write_json
from swiftbox.launch.record import Ready
from swiftbox.menu import actions, failure_screen, runs_screen
from swiftbox.menu.next_steps import next_steps, result_of
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create
from swiftbox.tasks.load import load

NEWEST = ENTER
DETACH, SETTING, EDIT, SAVE, LEAVE = map(choice, range(1, 6))


@pytest.fixture
def trained(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished training with an adapter, in the current folder."""
    monkeypatch.chdir(tmp_path)
    run = create(tmp_path / "runs" / "mine")
    make_run(make_adapter(tiny, run / run_folder.MODEL), tiny)
    run_folder.update_state(run, status="done", exit_code=0)
    return run


def step(run: Path, task: str) -> str:
    """Return the keys that choose a next step of a run under My runs."""
    before = ("record", "log", "again")
    at = [step.task for step in next_steps(result_of(run))].index(task)
    return choice(len(before) + at)


def test_a_yaml_that_merges_the_adapter_of_a_run_is_saved(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = [SETTING, "dtype", ENTER, DOWN * 2, ENTER, ENTER]
    walk(RUNS, NEWEST, step(trained, "merge"), *change, SAVE, ENTER, LEAVE)
    config = load(trained.parents[1] / "merge-mine.yaml").config.model_dump()
    assert (config["adapter"], config["dtype"]) == ("runs/mine", "bfloat16")
    shown = capsys.readouterr().out
    assert "swiftbox new merge -o merge-mine.yaml adapter=runs/mine" in shown
    assert "merge_base: full" in shown


def test_a_merge_is_started_from_the_menu(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, bool]] = []

    def run(ready: Ready, *, detach: bool = False, **_: object) -> int:
        ran.append((ready.plan.config.task, detach))
        return 0

    monkeypatch.setattr(actions, "run", run)
    walk(RUNS, NEWEST, step(trained, "merge"), DETACH, ENTER, ENTER)
    assert ran == [("merge", True)]
    assert (trained.parents[1] / "merge-mine.yaml").is_file()


def test_a_training_is_extended_by_epochs(
    tmp_path: Path,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data, extended = write_chats(tmp_path / "chat.jsonl", 8), list[Ready]()
    keys_of_run = {"save_steps": 1, "max_steps": None, "num_train_epochs": 1}
    path = write_config(tmp_path / "a.yaml", tiny, data, output_dir="runs/mine", **keys_of_run)
    box("run", str(path), "--plain", cwd=tmp_path)

    def run(ready: Ready, **_: object) -> int:
        extended.append(ready)
        return 0

    monkeypatch.setattr(failure_screen, "run", run)
    walk(RUNS, NEWEST, choice(3), ENTER, ENTER)
    (ready,) = extended
    assert ready.folder.name == "mine-extended"
    assert ready.prepared.loaded.config.model_dump()["num_train_epochs"] == 2
    assert "learning rate: cosine is planned over" in capsys.readouterr().out


def test_after_a_training_the_next_steps_are_offered(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [step.task for step in next_steps(result_of(trained))].index("merge")
    # From the review Ctrl-C leads to the list again, and `back`, its last entry, out of it.
    with keys(choice(at), CTRL_C, UP + ENTER):
        runs_screen.offer_next_steps(trained)
    assert "swiftbox new merge -o merge-mine.yaml adapter=runs/mine" in capsys.readouterr().out


def test_the_next_steps_of_an_adapter(trained: Path) -> None:
    steps = next_steps(result_of(trained))
    assert [step.task for step in steps] == ["chat", "evaluate", "merge", "deploy"]
    assert all(step.values["adapter"] == "runs/mine" for step in steps)


def values_of(run: Path) -> dict[str, dict[str, object]]:
    """Return the settings of each next step of a run."""
    return {step.task: dict(step.values) for step in next_steps(result_of(run))}


def test_the_next_steps_of_a_merged_model(trained: Path) -> None:
    run = finished_run(trained.parent / "merged", task="merge", model="o/base", adapter="runs/mine")
    steps, model = values_of(run), "runs/merged/model"
    assert list(steps) == ["quantize", "evaluate", "deploy", "chat"]
    assert steps["evaluate"] == {"model": "o/base", "compare": [model]}
    assert steps["deploy"] == steps["chat"] == {"model": model}


def test_a_quantized_model_is_evaluated_against_the_unquantized(trained: Path) -> None:
    settled = {"task": "quantize", "model": "o/base", "adapter": "runs/mine"}
    run = finished_run(trained.parent / "small", quantized=True, **settled)
    steps = values_of(run)
    assert result_of(run).kind == "quantized"
    assert steps["evaluate"] == {
        "model": "o/base",
        "adapter": "runs/mine",
        "compare": ["runs/small/model"],
    }
    assert "quantize" not in steps


def test_the_next_steps_of_a_pipeline_use_its_last_result(trained: Path) -> None:
    chain = create(trained.parent / "chain")
    (chain / run_folder.SETTLED).write_text("version: 1\ntask: pipeline\n")
    run_folder.update_state(chain, status="done")
    finished_run(chain / "steps/01-train", task="train", model="o/base")
    finished_run(chain / "steps/02-quantize", quantized=True, task="quantize", model="o/base")
    (chain / "steps/03-evaluate").mkdir()
    steps = values_of(chain)
    assert steps["deploy"] == {"model": "runs/chain/steps/02-quantize/model"}
    assert "quantize" not in steps


def test_an_evaluation_shows_its_scores(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = create(trained.parent / "scored")
    (run / run_folder.SETTLED).write_text("version: 1\ntask: evaluate\n")
    run_folder.update_state(run, status="done", started=2e9)
    score = {"candidate": "base", "value": 0.5, "low": 0.3, "high": 0.7, "count": 20}
    report = {
        "candidates": [{"name": "base"}],
        "benchmarks": [{"name": "mine", "title": "Mine", "metric": "accuracy"}],
        "scores": [{"benchmark": "mine", **score}],
        "differences": [],
        "remarks": [],
    }
    write_json(run / "report.json", report)
    walk(RUNS, NEWEST, choice(2), ENTER, CTRL_C, CTRL_C)
    shown = capsys.readouterr().out
    assert "50.0" in shown
    assert str(run / "report.html") in shown


def test_a_deployment_shows_its_address_and_offers_a_chat(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create(trained.parent / "serving")
    (run / run_folder.SETTLED).write_text("version: 1\ntask: deploy\n")
    process = {"pid": os.getpid(), "pid_started": run_folder.process_start(os.getpid())}
    url = "http://127.0.0.1:9"  # nobody listens there
    run_folder.update_state(run, status="running", url=url, started=2e9, **process)
    walk(RUNS, NEWEST, choice(1), CTRL_C, CTRL_C, CTRL_C)
    shown = capsys.readouterr().out
    assert f"{url}  silent" in shown
    assert f"swiftbox chat {url}" in shown


def test_a_reward_model_is_not_chatted_with(trained: Path) -> None:
    settled = yaml.safe_load((trained / run_folder.SETTLED).read_text())
    (trained / run_folder.SETTLED).write_text(yaml.safe_dump({**settled, "stage": "reward"}))
    assert [step.task for step in next_steps(result_of(trained))] == ["merge"]


def test_a_run_without_a_result_has_no_next_step(trained: Path) -> None:
    (trained / run_folder.MODEL / "adapter_config.json").unlink()
    assert next_steps(result_of(trained)) == []
    with keys(ENTER):
        runs_screen.offer_next_steps(trained)
    walk(RUNS, NEWEST, UP, ENTER)  # the last entry is the way back
