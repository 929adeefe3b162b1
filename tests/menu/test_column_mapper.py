"""Unknown columns are asked for in the menu, and become `columns:` of the YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model_folder import write_model
from walking import CLEAR, CTRL_C, DOWN, ENTER, choice, golden, keys, saved, walk

from swiftbox.formatting import width
from swiftbox.launch import prepare as launch
from swiftbox.menu.column_mapper import roles_for, with_columns
from swiftbox.menu.questions import Back
from swiftbox.methods import METHODS
from swiftbox.tasks.load import load
from swiftbox.tasks.train import TRAIN

UNCLEAR = {"Nr": "1", "Frage": "What is it?", "Antwort": "A thing."}
MEDICAL = {"Question": "Why?", "Complex_CoT": "t", "Response": "Because."}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answered(data: Path, *pressed: str, stage: str = "sft", **values: Any) -> Any:
    with keys(*pressed):
        return with_columns(TRAIN.config_classes[stage], {"dataset": str(data), **values})


def test_a_walk_chooses_the_columns_and_saves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "estimate", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model")
    write(tmp_path / "rows.jsonl", UNCLEAR)
    form = [ENTER, ENTER, "./model", ENTER, ENTER, ENTER, "./rows.jsonl", ENTER]
    mapping = [ENTER, choice(1), choice(1), ENTER, ENTER]  # choose; no reasoning, no system
    save = [ENTER * 6, choice(4), ENTER, choice(6), CTRL_C, CTRL_C]
    walk(*form, *mapping, *save)
    file = tmp_path / "sft-lora-model.yaml"
    assert saved(file) == golden("columns")
    assert load(file).config.columns == {"Frage": "query", "Antwort": "response"}


def test_the_proposal_is_the_first_choice(tmp_path: Path) -> None:
    values = answered(write(tmp_path / "a.jsonl", MEDICAL), ENTER)
    assert values["columns"] == {
        "Question": "query",
        "Complex_CoT": "reasoning_content",
        "Response": "response",
    }


def test_known_columns_and_ids_are_not_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", {"query": "q", "response": "a"})
    assert answered(data) == {"dataset": str(data)}
    assert answered(Path("owner/rows")) == {"dataset": "owner/rows"}
    assert answered(tmp_path / "missing.jsonl") == {"dataset": str(tmp_path / "missing.jsonl")}


def test_columns_of_another_dataset_are_dropped(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", {"query": "q", "response": "a"})
    assert "columns" not in answered(data, columns={"query": "system"})
    right = {"Frage": "query", "Antwort": "response"}
    other = write(tmp_path / "b.jsonl", UNCLEAR)
    assert answered(other, columns=right)["columns"] == right


def test_columns_that_would_make_it_unclear_are_set_aside(tmp_path: Path) -> None:
    row = {"question": "q", "short": "a", "answer": "a, at length", "options": "a b"}
    data = write(tmp_path / "a.jsonl", row)
    pressed = [DOWN + ENTER, ENTER, ENTER, ENTER, ENTER]  # choose, with what is proposed
    values = answered(data, *pressed)
    assert values["columns"]["question"] == "query"
    assert values["columns"]["options"] == "unused"


def test_leaving_them_changes_nothing_and_ctrl_c_goes_back(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", UNCLEAR)
    assert "columns" not in answered(data, DOWN + ENTER)
    with pytest.raises(Back):
        answered(data, CTRL_C)


def test_every_stage_has_its_roles() -> None:
    roles = {stage: [role.name for role in roles_for(stage)] for stage in METHODS}
    assert roles["pt"] == ["text"]
    assert roles["sft"][:2] == ["query", "response"]
    assert roles["dpo"] == roles["reward"] == ["query", "chosen", "rejected"]
    assert roles["kto"] == ["query", "response", "label"]
    assert roles["grpo"] == ["prompt"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("cells", [40, 80])
def test_the_rows_are_shown_within_the_screen(
    cells: int,
    language: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    monkeypatch.setenv("COLUMNS", str(cells))
    monkeypatch.setenv("LINES", "24")
    row = {f"列{number}": "长长的内容" * 30 for number in range(20)}
    answered(write(tmp_path / "a.jsonl", row), DOWN + ENTER)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(width, lines)) < cells
    assert len(lines) <= 24
    assert CLEAR not in "".join(lines)
