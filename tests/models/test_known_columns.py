"""What the catalogue knows of a dataset is applied to its id, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swiftbox.data.source import RowSource, parse_sources
from swiftbox.models.known_columns import known_columns_note, stage_note, with_known_columns
from swiftbox.models.requirements import Remark
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

MEDICAL = "FreedomIntelligence/medical-o1-reasoning-SFT"


def source(named: Any) -> RowSource:
    (parsed,) = parse_sources([named], columns={})
    return parsed


def test_the_columns_of_a_known_set_are_applied_with_a_note() -> None:
    known = with_known_columns(source(MEDICAL))
    assert dict(known.columns)["Complex_CoT"] == "reasoning_content"
    assert known.renamed == (), "a set that has changed since is read by its columns"
    assert "Complex_CoT: reasoning_content" in known_columns_note(source(MEDICAL))


def test_the_split_to_train_on_is_applied_with_a_note() -> None:
    known = with_known_columns(source("HuggingFaceH4/ultrachat_200k"))
    assert known.split == "train_sft"
    assert "split: train_sft" in known_columns_note(source("HuggingFaceH4/ultrachat_200k"))


def test_what_the_config_says_wins() -> None:
    named = {"path": MEDICAL, "columns": {"Question": "query"}, "split": "train[:5]"}
    assert with_known_columns(source(named)) == source(named)


def test_a_folder_of_the_name_and_an_unknown_id_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(MEDICAL).mkdir(parents=True)
    for name in (MEDICAL, "nobody/knows-this"):
        assert with_known_columns(source(name)) == source(name)
        assert known_columns_note(source(name)) == stage_note(source(name), "dpo") == ""


def test_rows_for_another_stage_are_named() -> None:
    assert "for stage: dpo" in stage_note(source("AI-ModelScope/hh-rlhf"), "sft")
    assert stage_note(source("AI-ModelScope/hh-rlhf"), "kto") == ""
    assert stage_note(source(MEDICAL), "grpo") == ""


def test_the_check_says_it_of_both_keys(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        f"model: owner/model\ndataset: {MEDICAL}\nval_dataset: AI-ModelScope/hh-rlhf\n",
        encoding="utf-8",
    )
    remarks: list[Remark] = []
    TASKS["train"].check(load(config).config, remarks.append)
    messages = [remark.message for remark in remarks]
    assert any(message.startswith(f"dataset: {MEDICAL}: read with") for message in messages)
    assert any("val_dataset: AI-ModelScope/hh-rlhf: its rows" in message for message in messages)
