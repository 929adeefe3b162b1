"""What the catalogue knows of a dataset is applied to its id, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import ConfigError
from swiftbox.models import catalogue
from swiftbox.models.known_columns import (
    column_details,
    known_columns_note,
    require_readable,
    stage_note,
    unrecorded_note,
    with_known_columns,
)
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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("modelscope/clue", "labels, for a classifier"),
        ("sentence-transformers/stsb", "labels, for a classifier"),
        ("MTEB/scidocs-reranking", "embedding models and rerankers"),
        ("Hello-SimpleAI/HC3", "answers of ChatGPT"),
        ("zouxuhong/Countdown-Tasks-3to4", "no prompt"),
        ("iic/MSAgent-MultiRole", "characters of a group chat"),
    ],
)
def test_a_set_that_no_stage_learns_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        require_readable([("dataset", source(name))], "sft")
    assert caught.value.hint
    require_readable([("dataset", source({"path": name, "columns": {"question": "query"}}))], "sft")


def test_rows_with_labels_are_for_classifiers() -> None:
    for name in ("modelscope/clue", "sentence-transformers/stsb", "DAMO_NLP/jd"):
        require_readable([("dataset", source(name))], "classification")
        assert stage_note(source(name), "classification") == ""
    with pytest.raises(ConfigError, match="embedding models"):
        require_readable([("dataset", source("MTEB/scidocs-reranking"))], "classification")


def test_rows_of_answers_are_for_distillation_too() -> None:
    assert stage_note(source("AI-ModelScope/alpaca-cleaned"), "gkd") == ""


def test_subsets_of_several_shapes_are_read_one_at_a_time() -> None:
    name = "ServiceNow-AI/R1-Distill-SFT"
    with pytest.raises(ConfigError, match="one subset at a time: v0, v1") as caught:
        require_readable([("dataset", source(name))], "sft")
    assert "subset: v0" in str(caught.value.hint)
    for subset, column in (("v0", "problem"), ("v1", "reannotated_messages")):
        named = source({"path": name, "subset": subset})
        require_readable([("dataset", named)], "sft")
        assert column in dict(with_known_columns(named).columns)


def test_a_set_with_further_files_is_read_from_the_subset_of_its_shape() -> None:
    named = source("open-thoughts/OpenThoughts-114k")
    assert with_known_columns(named).subset == "data"
    assert "subset: data" in known_columns_note(named)
    require_readable([("dataset", named)], "sft")


def test_columns_that_are_not_recorded_are_mentioned_and_not_refused() -> None:
    named = source("modelscope/MathR-32B-Distill")
    require_readable([("dataset", named)], "sft")
    assert "not recorded" in unrecorded_note(named)
    assert unrecorded_note(source(MEDICAL)) == ""


def test_the_details_name_the_columns_of_each_subset_and_their_source() -> None:
    row = catalogue.dataset("AI-ModelScope/ruozhiba")
    assert row is not None
    details = column_details(row)
    assert details["columns (post-annual)"] == "author, content, l_num, ctime"
    assert details["columns from"] == "the registration of another tool"


def test_the_check_refuses_what_no_stage_learns(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(
        "model: owner/model\ndataset: [modelscope/clue, swift/dolphin]\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="dataset: modelscope/clue: its rows are tex") as caught:
        TASKS["train"].check(load(config).config, lambda _: None)
    assert "swift/dolphin: its files are read one subset at a time" in str(caught.value)
