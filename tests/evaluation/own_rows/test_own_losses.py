"""The loss on own rows is the trainer's on the same rows, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from box import events
from in_process import box
from made_up import made_up
from tiny import write_chats, write_config, write_texts
from training_records import recorded

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.data.source import parse_sources
from swiftbox.errors import DataError
from swiftbox.evaluation.candidates import (
    Candidate,
    candidates,
    servers,
    with_absolute_paths,
)
from swiftbox.evaluation.own_rows import measuring
from swiftbox.evaluation.own_rows.measure import chosen_rows
from swiftbox.evaluation.own_rows.plain_rows import plain_rows
from swiftbox.evaluation.own_rows.row_files import ChosenRows, RowFiles
from swiftbox.files import read_json, write_json
from swiftbox.tasks.evaluate_rows import OwnRows
from swiftbox.tasks.evaluated_rows import select_rows

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _child_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which has imported torch."""
    from swiftbox.evaluation.own_rows.measure import measure

    def run(_command: Any, request: Any, _folder: Path, emit: Any, _stop: Any) -> dict[str, Any]:
        measure(request, emit)
        return {"done": True}

    monkeypatch.setattr(measuring, "run_command", run)


def trained(tiny: Path, folder: Path, **keys: Any) -> Path:
    """Train an adapter that holds out rows, and evaluate it after its last update."""
    data = keys.pop("data", None) or write_chats(folder / "chat.jsonl", 14)
    steps = {"max_steps": 2, "eval_steps": 2, "save_steps": 0, "max_length": 64}
    values: dict[str, Any] = {"val_size": 0.4, **steps, **keys}
    config = write_config(folder / "a.yaml", tiny, data, **values)
    box("run", str(config), "--plain", f"output_dir={folder / 'run'}", cwd=folder)
    return folder / "run"


def measured(run: Path, out: Path) -> tuple[RowFiles, tuple[Candidate, ...]]:
    """Measure base and adapter; return the files and the candidates."""
    config = with_absolute_paths(EvaluateConfig(adapter=str(run), dtype="float32"))
    models = candidates(config)
    rows = OwnRows.of(config, models, out, lambda *_, **__: None)
    assert rows is not None
    assert rows.prepare(servers(models), made_up("cpu"))
    return rows.files, models


NAMED = {"val_size": 0, "val_dataset": "v.jsonl", "padding_free": "false"}
PROMPTS = {"train_on_prompt": True, "label_smoothing_factor": 0.1}


@pytest.mark.parametrize("keys", [{}, {**NAMED, **PROMPTS}], ids=["split", "named"])
def test_the_loss_on_held_out_rows_is_that_of_the_trainer(
    tiny: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    write_chats(tmp_path / "v.jsonl", 5, seed=3)
    run = trained(tiny, tmp_path, **keys)
    files, models = measured(run, tmp_path / "out")
    first, adapter = (read_json(files.losses(item)) for item in models)
    (last,) = events(run, "eval")
    assert adapter["loss"] == last["loss"]
    assert first["loss"] != adapter["loss"]
    assert sum(adapter["sums"]) / sum(adapter["counts"]) == pytest.approx(adapter["loss"], 1e-6)
    (data,) = events(run, "data")
    rows = read_json(files.rows)
    assert len(adapter["sums"]) == len(rows["rows"]) == data["held_out"]
    write_json(files.rows, {**rows, "longest": 1})  # a batch has one row
    for item in models:
        files.losses(item).unlink()
    measured(run, tmp_path / "out")
    alone = read_json(files.losses(models[1]))
    # Sums of the same float32 products in another order: the error is a few times 1e-7.
    assert alone["sums"] == pytest.approx(adapter["sums"], rel=1e-4)


def test_the_loss_on_texts_is_that_of_the_trainer(tiny: Path, tmp_path: Path) -> None:
    data = write_texts(tmp_path / "texts.txt", 9)
    run = trained(tiny, tmp_path, data=data, stage="pt", packing=False)
    files, models = measured(run, tmp_path / "out")
    (last,) = events(run, "eval")
    assert read_json(files.losses(models[1]))["loss"] == last["loss"]


def test_the_right_answers_of_preferences_are_measured(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"question {number}", "chosen": f"right {number}", "rejected": "wrong"}
        for number in range(6)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run = recorded(tiny, tmp_path, data=data, stage="dpo", val_size=2)
    files, models = measured(run, tmp_path / "out")
    chosen = ChosenRows.read(files.rows)
    assert chosen is not None
    assert len(chosen.rows) == 2
    assert all(row.expected.startswith("right") for row in chosen.rows)
    assert [message["role"] for message in chosen.rows[0].messages] == ["user"]
    prompts = read_json(files.prompts(models[0].model))["prompts"]
    assert len(prompts) == 2
    assert read_json(files.losses(models[1]))["counts"][0] > 1


def test_bad_answers_are_counted_as_left_out_and_cannot_stand_alone(
    tiny: Path, tmp_path: Path
) -> None:
    def labelled(*labels: bool) -> Path:
        rows = [
            {"prompt": f"question {number}", "completion": "answer", "label": label}
            for number, label in enumerate(labels)
        ]
        file = tmp_path / "labelled.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return file

    run = recorded(tiny, tmp_path, data=labelled(True, True, False), stage="kto", val_size=0)

    def chosen(file: Path) -> dict[str, Any]:
        selection = select_rows(EvaluateConfig(adapter=str(run), test_dataset=str(file)))
        assert selection is not None
        measured = selection.measured(str(tiny)).model_dump(mode="json")
        sources = [vars(source) for source in parse_sources([str(file)], columns={})]
        request = {"deciding_model": str(tiny), "sources": sources, "measured": measured}
        return chosen_rows(selection.training, {**request, "validation": [], "held_out": False})

    result = chosen(labelled(True, True, False, True))
    assert (len(result["rows"]), result["left_out"]) == (3, 1)
    with pytest.raises(DataError, match="no row to measure"):
        chosen(labelled(False, False))


def test_rows_for_a_server_elsewhere_are_conversations_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"query": "q", "response": " a ", "system": "s", "history": [["q0", "a0"]]}
    file.write_text(json.dumps(row) + "\n", "utf-8")
    plain = plain_rows(parse_sources([str(file)], columns={}), seed=1)
    (chosen,) = plain["rows"]
    assert [message["role"] for message in chosen["messages"]] == [
        *("system", "user", "assistant", "user")
    ]
    assert (chosen["id"], chosen["expected"]) == ("rows.jsonl:1", "a")
