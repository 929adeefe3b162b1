"""The text to measure on is never calibrated on; both are rendered as the model reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from template_rows import wheel_source
from tiny import train_tokenizer

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.data.example import Example, Turn
from swiftbox.errors import DataError
from swiftbox.quantization import calibration


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def config_with(**keys: Any) -> QuantizeConfig:
    return QuantizeConfig(model="o/n", **keys)


def test_the_built_in_data_fills_the_samples_and_its_halves_share_nothing(tokenizer: Any) -> None:
    config = config_with(calibration_samples=20, calibration_length=64)
    pieces = calibration.load_pieces(config, (), tokenizer)
    assert [len(piece) for piece in pieces.calibration] == [64] * 20
    assert [len(piece) for piece in pieces.held_out] == [64] * calibration.MAX_HELD_OUT_PIECES
    assert not set(map(tuple, pieces.calibration)) & set(map(tuple, pieces.held_out))
    rows = [
        json.loads(line)
        for line in (calibration.BUILT_IN / "held_out.jsonl").read_text("utf-8").splitlines()
    ]
    other = (calibration.BUILT_IN / "calibration.jsonl").read_text("utf-8")
    assert all(row[key] not in other for row in rows for key in ("query", "response"))
    assert not set(calibration.CALIBRATION_MODULES) & set(calibration.HELD_OUT_MODULES)


def test_conversations_are_rendered_by_the_models_own_template(tokenizer: Any) -> None:
    pieces = calibration.load_pieces(
        config_with(calibration_samples=1, calibration_length=64), (), tokenizer
    )
    assert tokenizer.decode(pieces.calibration[0]).startswith("<|im_start|>user\nWhat makes")


def write_rows(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_a_fifth_of_the_users_rows_is_held_out(tokenizer: Any, tmp_path: Path) -> None:
    lines = [{"text": f"number {index} " * 20} for index in range(50)]
    path = write_rows(tmp_path / "a.jsonl", lines)
    config = config_with(
        calibration_dataset=str(path), calibration_length=32, calibration_samples=500
    )
    pieces = calibration.load_pieces(config, calibration.calibration_sources(config), tokenizer)
    measured = "".join(map(tokenizer.decode, pieces.held_out))
    calibrated = "".join(map(tokenizer.decode, pieces.calibration))
    assert "number 10 " in measured
    assert "number 10 " not in calibrated
    assert "number 11 " in calibrated


def test_a_repeated_row_is_not_used_for_measuring(tokenizer: Any, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "the same again and again"}] * 40)
    config = config_with(calibration_dataset=str(path), calibration_length=16)
    with pytest.raises(DataError, match="too short for one piece"):
        calibration.load_pieces(config, calibration.calibration_sources(config), tokenizer)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"instruction": "a", "output": "b"},
        {"text": "a b"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ],
)
def test_every_format_of_a_training_can_calibrate(
    row: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "a.jsonl", [row] * 10)
    (source,) = calibration.calibration_sources(config_with(calibration_dataset=str(path)))
    examples = calibration.read_examples([source])
    assert len(examples) == 10
    assert "b" in calibration.render(examples[0], tokenizer)


def test_rows_that_a_template_refuses_are_adapted_or_an_error_without_traceback() -> None:
    tokenizer = train_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}" + wheel_source("gemma")
    tokenizer.bos_token = "<|endoftext|>"
    turns = (Turn("system", "s"), Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c"))
    assert "s\n\na\n\nb" in calibration.render(Example(turns), tokenizer)
    called = (Turn("user", "a"), Turn("assistant", "b"), Turn("tool", "c"), Turn("assistant", "d"))
    with pytest.raises(DataError, match="roles must alternate"):
        calibration.render(Example(called), tokenizer)
