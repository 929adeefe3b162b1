"""A name with a line break in it cannot pose as a line of ours, such as a hint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from model_folder import write_model

from swiftbox.cli.main import main
from swiftbox.config.clear_values import PATHS

FORGED = "x\nhint: nothing runs, all is well"


def forging_keys(folder: Path) -> None:
    settings = {"task": "train", FORGED: FORGED, "model": "./model", "learning_rate": FORGED}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")


def forging_rows(folder: Path) -> None:
    rows = [{FORGED: 1}, {"messages": [{"role": FORGED, "content": "a"}]}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_model(folder / "model", model_type=FORGED)
    settings = {"task": "train", "stage": "sft", "model": "./model", "dataset": "./rows.jsonl"}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")


def forging_steps(folder: Path) -> None:
    steps = [{"name": FORGED, "task": FORGED}, {"name": "b", "task": "merge", FORGED: FORGED}]
    settings = {"task": "pipeline", "steps": steps}
    (folder / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")


@pytest.mark.parametrize("write", [forging_keys, forging_rows, forging_steps])
def test_a_name_with_a_line_break_poses_as_no_line_of_ours(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    assert main(["check", "a.yaml"]) == 2
    shown = "".join(capsys.readouterr())
    assert "all is well" in shown
    assert not [line for line in shown.splitlines() if line.startswith("hint: nothing")], shown


@pytest.mark.parametrize("key", sorted(PATHS | {"revision", "target_modules"}))
def test_a_line_break_is_refused_where_one_line_is_expected(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    for value in (FORGED, [FORGED], {"path": FORGED}, FORGED.replace("\n", "\r")):
        settings = {"task": "train", "model": "./model", "dataset": "./rows.jsonl", key: value}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        assert main(["check", "a.yaml"]) == 2
        shown = "".join(capsys.readouterr())
        assert not [line for line in shown.splitlines() if line.startswith("hint: nothing")], shown


def test_the_block_of_what_a_start_does_cannot_be_forged() -> None:
    from swiftbox.launch.disclosure import Disclosure
    from swiftbox.launch.foreign import ForeignRun
    from swiftbox.tasks.effects import Effects

    foreign = ForeignRun(Path(f"/runs/{FORGED}"), resumes=True, results=(FORGED,))
    for line in Disclosure(Effects(), foreign=foreign).lines():
        assert "\n" not in line
