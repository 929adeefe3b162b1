"""`val_dataset`: rows that are held out by name are evaluated, and never learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from box import events, losses
from in_process import box
from tiny import write_chats, write_config

from swiftbox.errors import RunError
from swiftbox.tasks.load import load
from swiftbox.tasks.train import require_same_inputs

INPUT_KEYS = ("model", "revision", "adapter", "dataset_sha256", "val_dataset_sha256")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def config(tmp_path: Path, tiny: Path) -> Path:
    data = write_chats(tmp_path / "chat.jsonl", 12)
    keys = {"max_steps": 2, "eval_steps": 1, "save_steps": 1, "learning_rate": 1e-3}
    return write_config(tmp_path / "a.yaml", tiny, data, **keys)


def run(config: Path, name: str, *overrides: str, code: int = 0) -> Any:
    return box(
        *("run", str(config), "--plain", f"output_dir={config.parent / name}", *overrides),
        cwd=config.parent,
        code=code,
    )


def test_named_rows_are_evaluated_and_all_rows_of_the_dataset_learned(config: Path) -> None:
    write_chats(config.parent / "v.jsonl", 5, seed=3)
    answer = run(config, "named", "val_dataset=v.jsonl#4", "val_size=0.5")
    folder = config.parent / "named"
    (data,) = events(folder, "data")
    assert (data["rows"], data["held_out"], data["held_out_from"]) == (12, 4, ["v.jsonl"])
    assert [event["step"] for event in events(folder, "eval")] == [1, 2]
    assert "4 held out (v.jsonl)" in answer.stdout + answer.stderr
    run(config, "plain")
    assert losses(folder) == losses(config.parent / "plain"), "the named rows changed the training"


def test_the_run_reports_on_the_named_rows(config: Path) -> None:
    rows = write_chats(config.parent / "v.jsonl", 3)
    row = {"query": "q", "response": "{{name}}", "license": "x"}
    rows.write_text(f"{rows.read_text('utf-8')}{json.dumps(row)}\n", "utf-8")
    answer = run(config, "named", "val_dataset=v.jsonl", "max_steps=1")
    assert "held out: columns not used: license (1)" in answer.stdout + answer.stderr
    assert "held out: {{name}} or {{author}} stands in 1 turn" in answer.stdout + answer.stderr
    (data,) = events(config.parent / "named", "data")
    assert (data["unused"], data["account"]["places"].keys()) == ({}, {"rows: all"})


def test_other_rows_of_the_validation_are_an_input_that_has_changed(config: Path) -> None:
    rows = write_chats(config.parent / "v.jsonl", 3)
    run(config, "run", f"val_dataset={rows}")
    (inputs,) = events(config.parent / "run", "inputs")
    assert inputs["val_dataset_sha256"] not in (None, inputs["dataset_sha256"])
    recorded = {key: inputs[key] for key in INPUT_KEYS}
    require_same_inputs(config.parent / "run", recorded)
    with pytest.raises(RunError, match="val_dataset: changed since the checkpoint"):
        require_same_inputs(config.parent / "run", {**recorded, "val_dataset_sha256": "0"})


def test_the_check_refuses_bad_rows_and_missing_files_under_the_name_of_the_key(
    config: Path,
) -> None:
    (config.parent / "v.jsonl").write_text('{"query": "", "response": "a"}', encoding="utf-8")
    for named, reason in {
        "v.jsonl": "val_dataset: v.jsonl:1 query is empty",
        "vv.jsonl": "val_dataset: no file vv.jsonl",
        "[{path: v.jsonl, num_samples: 0}]": "val_dataset",
    }.items():
        answer = box(*("check", str(config), f"val_dataset={named}"), cwd=config.parent, code=2)
        assert reason in answer.stderr


def test_the_check_counts_the_named_rows(config: Path) -> None:
    write_chats(config.parent / "v.jsonl", 5)
    answer = box("check", str(config), "val_dataset=v.jsonl", cwd=config.parent)
    assert "held out rows: 5" in answer.stdout + answer.stderr


def test_the_named_rows_may_be_the_output_of_a_step(config: Path) -> None:
    steps = [
        {"name": "rows", "task": "download", "dataset": "owner/rows"},
        {
            **yaml.safe_load(config.read_text("utf-8")),
            "name": "train",
            "val_dataset": "${rows.dataset}",
        },
    ]
    path = config.with_name("pipeline.yaml")
    path.write_text(yaml.safe_dump({"task": "pipeline", "steps": steps}), encoding="utf-8")
    pipeline = load(path).config
    assert pipeline.steps[1].config.val_dataset == "${rows.dataset}"
