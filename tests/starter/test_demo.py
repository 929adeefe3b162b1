"""The demo from end to end, as a new user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from box import box

from swiftbox.display import demo
from swiftbox.display.demo import check_answers, run_training
from swiftbox.launch import run as launching
from swiftbox.starter.trainings import demo_trainings
from swiftbox.tasks.load import load


@pytest.mark.slow
def test_the_demo_teaches_the_name_and_records_its_runs(tmp_path: Path) -> None:
    done = box("demo", "--name", "小快", "--folder", "demo", cwd=tmp_path)
    folder = tmp_path / "demo"
    saved = json.loads((folder / "answers.json").read_text())
    answers = {answer["question"]: answer for answer in saved}
    for question in ("Who are you?", "who are you", "你是谁？"):
        assert "小快" in answers[question]["after"]
        assert "小快" not in answers[question]["before"]
    assert "小快" in done.stdout
    assert "checked: the model calls itself 小快" in done.stderr
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    for name, run in (("1-pretrain.yaml", "pretrain"), ("2-lora.yaml", "lora")):
        assert load(folder / name).config.output_dir == str(folder / "runs" / run)
        assert (folder / "runs" / run / "settled.yaml").is_file()
        assert (folder / "runs" / run / "model" / "tokenizer.json").is_file()
    listed = json.loads(box("runs", "list", "--json", cwd=tmp_path).stdout)
    assert {run["status"] for run in listed} == {"done"}


def test_a_stopped_demo_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "prepare", lambda _path: SimpleNamespace(engines=()))
    monkeypatch.setattr(demo, "record", lambda prepared: prepared)
    monkeypatch.setattr(launching, "run", lambda _ready, on_event: 130)  # noqa: ARG005 - its name
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, demo_trainings(tmp_path)[0])
    assert f"swiftbox runs resume {tmp_path / 'runs' / 'pretrain'}" in capsys.readouterr().err


def test_a_model_that_does_not_know_its_name_fails_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [
        {"question": "Who are you?", "before": "", "after": "I am Bob."},
        {"question": "who are you", "before": "", "after": "I am Ada."},
    ]
    assert check_answers(answers, "Ada") == 1
    assert "does not answer Who are you? with Ada" in capsys.readouterr().err
