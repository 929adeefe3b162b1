"""The check of the solutions that the reward accuracy compares answers with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import write_config

from swiftbox.errors import UserError
from swiftbox.models.requirements import Remark
from swiftbox.tasks.load import load
from swiftbox.tasks.training_check import check

GOOD = {"prompt": "What is 6 * 7?", "solution": "42"}
BAD = {"prompt": "What is 6 * 7?", "solution": "We multiply. That is all."}


def remarks(folder: Path, model: Path, rows: list[dict[str, Any]], rewards: Any) -> list[Remark]:
    """Check a training on prompts; return its remarks on the reward functions."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = write_config(folder / "a.yaml", model, data, stage="grpo", reward_funcs=rewards)
    noted: list[Remark] = []
    check(load(path).config, noted.append)
    return [remark for remark in noted if remark.topic == "reward_funcs"]


def test_a_row_without_a_solution_is_named(tmp_path: Path, tiny: Path) -> None:
    (remark,) = remarks(tmp_path, tiny, [GOOD, BAD, GOOD, BAD], "accuracy")
    assert "finds no solution in 2 of 4 rows" in remark.message
    assert "rows.jsonl:2" in remark.message


def test_the_column_answer_is_a_solution_too(tmp_path: Path, tiny: Path) -> None:
    assert remarks(tmp_path, tiny, [GOOD, {**BAD, "answer": "42"}], "accuracy") == []


def test_rows_that_accuracy_alone_cannot_judge_are_refused(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UserError, match="finds no solution in 2 of 2 rows"):
        remarks(tmp_path, tiny, [BAD, BAD], "accuracy")
    assert remarks(tmp_path, tiny, [BAD, BAD], ["accuracy", "length"])


def test_other_rewards_need_no_solution(tmp_path: Path, tiny: Path) -> None:
    assert remarks(tmp_path, tiny, [BAD], "length") == []
