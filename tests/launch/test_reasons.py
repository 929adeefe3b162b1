"""A resumed or repeated run keeps the reasons of the plan that chose its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny import write_chats, write_config

from swiftbox.launch.prepare import Prepared, prepare, prepare_rerun, prepare_resume
from swiftbox.launch.record import record
from swiftbox.runs import folder as run_folder


@pytest.fixture
def first(tmp_path: Path, tiny: Path) -> Prepared:
    """A recorded run that was stopped before its first step."""
    rows = write_chats(tmp_path / "chat.jsonl", 40)
    keys = {"output_dir": str(tmp_path / "run"), "dtype": "auto"}
    path = write_config(tmp_path / "a.yaml", tiny, rows, **keys)
    path.write_text(path.read_text("utf-8").replace("learning_rate: 0.001\n", ""), "utf-8")
    prepared = prepare(path)
    record(prepared)
    run_folder.update_state(tmp_path / "run", status="stopped")
    return prepared


def reasons(prepared: Prepared) -> dict[str, str]:
    return {note.key: note.why for note in prepared.plan.notes}


def test_a_resumed_run_has_the_reasons_of_its_first_plan(first: Prepared, tmp_path: Path) -> None:
    resumed = prepare_resume(tmp_path / "run")
    assert list(reasons(resumed).items()) == list(reasons(first).items())
    before = (tmp_path / "run" / run_folder.SETTLED).read_text("utf-8")
    record(resumed)
    assert (tmp_path / "run" / run_folder.SETTLED).read_text("utf-8") == before


def test_a_repeated_run_has_the_reasons_of_its_first_plan(first: Prepared, tmp_path: Path) -> None:
    assert reasons(prepare_rerun(tmp_path / "run")) == reasons(first)


def test_a_resumed_pipeline_has_the_reasons_of_its_first_plan(tmp_path: Path, tiny: Path) -> None:
    rows = write_chats(tmp_path / "chat.jsonl", 40)
    keys = yaml.safe_load(write_config(tmp_path / "a.yaml", tiny, rows).read_text("utf-8"))
    merge = {"name": "merge", "task": "merge", "adapter": "${train.adapter}"}
    steps = {"task": "pipeline", "steps": [{**keys, "name": "train"}, merge]}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**steps, "output_dir": str(tmp_path / "run")}), "utf-8")
    planned = prepare(path)
    record(planned)
    run_folder.update_state(tmp_path / "run", status="stopped")
    assert "train.optim" in reasons(planned)
    assert reasons(prepare_resume(tmp_path / "run")) == reasons(planned)


def test_a_setting_that_the_user_changes_has_a_new_reason(first: Prepared, tmp_path: Path) -> None:
    repeated = prepare_rerun(tmp_path / "run", ["optim=sgd"])
    assert reasons(repeated)["optim"] != reasons(first)["optim"]
    assert reasons(repeated)["dtype"] == reasons(first)["dtype"]


@pytest.mark.usefixtures("first")
def test_a_reason_in_the_folder_of_somebody_else_is_shown_without_escape_sequences(
    tmp_path: Path,
) -> None:
    forged = {"dtype": "\x1b[2Jmine", "optim": 3, "no_such_key": "why"}
    (tmp_path / "run" / run_folder.REASONS).write_text(json.dumps(forged), "utf-8")
    resumed = reasons(prepare_resume(tmp_path / "run"))
    assert "\x1b" not in resumed["dtype"]
    assert "mine" in resumed["dtype"]
    assert "no_such_key" not in resumed
