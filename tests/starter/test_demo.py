"""The demo from end to end, as a newcomer runs it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from box import box

from swiftbox.display import demo
from swiftbox.display.demo import carry_out, steps, verdict
from swiftbox.launch import run as launching
from swiftbox.tasks.load import load


@pytest.mark.slow
def test_the_demo_teaches_the_name_and_leaves_its_record(tmp_path: Path) -> None:
    done = box("demo", "--name", "小快", "--folder", "demo", cwd=tmp_path)
    folder = tmp_path / "demo"
    answers = {one["question"]: one for one in json.loads((folder / "answers.json").read_text())}
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
    assert {one["status"] for one in listed} == {"done"}


def test_a_demo_that_is_stopped_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "prepare", lambda _path: SimpleNamespace(engines=()))
    monkeypatch.setattr(demo, "record", lambda prepared: prepared)
    monkeypatch.setattr(launching, "run", lambda _ready, on_event: 130)  # noqa: ARG005 - its name
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, steps(tmp_path)[0])
    assert f"swiftbox runs resume {tmp_path / 'runs' / 'pretrain'}" in capsys.readouterr().err


def test_a_model_that_does_not_know_its_name_fails_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [
        {"question": "Who are you?", "before": "", "after": "I am Bob."},
        {"question": "who are you", "before": "", "after": "I am Ada."},
    ]
    assert verdict(answers, "Ada") == 1
    assert "does not answer Who are you? with Ada" in capsys.readouterr().err
