"""Rows that do not fit max_length are refused by `check` where the training refuses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_folder import write_model
from tiny import train_tokenizer, write_config
from tokenizers import Tokenizer

from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config
from swiftbox.tasks.load import load

QUESTION = "question " * 20
"""Some 70 tokens."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model(tmp_path_factory.mktemp("usable") / "model")
    train_tokenizer().save_pretrained(folder)
    return folder


def refusal(model: Path, tmp_path: Path, rows: list[dict[str, str]], **keys: Any) -> str:
    """The refusal of a check; empty if it passes."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    dataset = keys.pop("dataset", data)
    config = write_config(tmp_path / "a.yaml", model, data, **keys)
    if dataset is not data:
        settings = {**yaml.safe_load(config.read_text("utf-8")), "dataset": dataset}
        config.write_text(yaml.safe_dump(settings), "utf-8")
    try:
        check_config(load(config).config)
    except UserError as error:
        return error.message
    return ""


SHORT, LONG = {"query": "q", "response": "a"}, {"query": QUESTION, "response": "a"}


def test_rows_that_are_too_long_are_counted_where_they_are_refused(
    model: Path, tmp_path: Path
) -> None:
    keys = {"max_length": 48, "truncation": "error"}
    message = refusal(model, tmp_path, [SHORT, LONG, SHORT], **keys)
    assert message.startswith("1 of 3 rows are longer than max_length 48 (the longest has ")
    assert not refusal(model, tmp_path, [SHORT, LONG], max_length=400, truncation="error")


def test_rows_that_are_taken_twice_are_refused_as_those_that_are_taken_once(
    model: Path, tmp_path: Path
) -> None:
    twice = [{"path": str(tmp_path / "rows.jsonl"), "weight": 2}]
    keys = {"max_length": 48, "dataset": twice}
    assert "longer than" in refusal(model, tmp_path, [SHORT, LONG], truncation="error", **keys)
    assert "none of" in refusal(model, tmp_path, [LONG], truncation="drop", **keys)
    sample = [{"path": str(tmp_path / "rows.jsonl"), "num_samples": 1}]
    keys["dataset"] = sample
    assert not refusal(model, tmp_path, [SHORT, LONG], truncation="error", **keys)
    assert "longer than" in refusal(model, tmp_path, [LONG, LONG], truncation="error", **keys)


def test_a_row_with_more_bytes_than_tokens_is_not_too_long(model: Path, tmp_path: Path) -> None:
    assert len(QUESTION) > 128
    assert not refusal(model, tmp_path, [LONG], max_length=128, truncation="error")


def test_the_lengths_that_a_tokenizer_cuts_or_pads_to_do_not_count(
    model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert "longer than" in refusal(folder, tmp_path, [LONG], max_length=48, truncation="error")
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=512)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert not refusal(folder, tmp_path, [LONG], max_length=128, truncation="error")


@pytest.mark.parametrize("truncation", ["right", "drop"])
def test_rows_that_learn_nothing_within_max_length_are_refused(
    model: Path, tmp_path: Path, truncation: str
) -> None:
    keys = {"max_length": 48, "truncation": truncation}
    message = "none of 2 rows has a token to learn within max_length 48"
    assert refusal(model, tmp_path, [LONG, LONG], **keys) == message
    assert not refusal(model, tmp_path, [LONG, SHORT], **keys)


def test_held_out_rows_are_counted_among_those_that_are_used(model: Path, tmp_path: Path) -> None:
    keys = {"max_length": 48, "truncation": "drop", "val_size": 1}
    message = "val_size: holding out 1 of 1 rows leaves nothing to train on"
    assert refusal(model, tmp_path, [LONG, SHORT], **keys) == message
    assert not refusal(model, tmp_path, [SHORT, SHORT], **keys)


def test_both_answers_of_a_pair_have_to_fit(model: Path, tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "yes", "rejected": f"no {QUESTION}"}
    message = refusal(model, tmp_path, [pair], stage="dpo", max_length=48, truncation="error")
    assert message.startswith("1 of 1 rows are longer than max_length 48")
