"""What is calibrated on is never what is measured on; both are written as the model meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import train_tokenizer

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import DataError
from swiftbox.quantization import texts


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def of(**keys: Any) -> QuantizeConfig:
    return QuantizeConfig(model="o/n", **keys)


def test_the_built_in_set_fills_what_is_asked_for_and_its_halves_are_apart(tokenizer: Any) -> None:
    config = of(calibration_samples=20, calibration_length=64)
    pieces = texts.pieces_of(config, (), tokenizer)
    assert [len(one) for one in pieces.calibration] == [64] * 20
    assert [len(one) for one in pieces.held_out] == [64] * texts.MOST_HELD_OUT
    assert not {tuple(one) for one in pieces.calibration} & {tuple(one) for one in pieces.held_out}
    said = [
        json.loads(line)
        for line in (texts.BUILT_IN / "held_out.jsonl").read_text("utf-8").splitlines()
    ]
    other = (texts.BUILT_IN / "calibration.jsonl").read_text("utf-8")
    assert all(one["query"] not in other and one["response"] not in other for one in said)
    assert not set(texts.CALIBRATION_MODULES) & set(texts.HELD_OUT_MODULES)


def test_conversations_are_written_by_the_models_own_template(tokenizer: Any) -> None:
    pieces = texts.pieces_of(of(calibration_samples=1, calibration_length=64), (), tokenizer)
    assert tokenizer.decode(pieces.calibration[0]).startswith("<|im_start|>user\nWhat makes")


def rows(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    return path


def test_a_fifth_of_the_users_rows_is_held_out(tokenizer: Any, tmp_path: Path) -> None:
    lines = [{"text": f"number {at} " * 20} for at in range(50)]
    path = rows(tmp_path / "a.jsonl", lines)
    config = of(calibration_dataset=str(path), calibration_length=32, calibration_samples=500)
    pieces = texts.pieces_of(config, texts.sources_of(config), tokenizer)
    held = "".join(tokenizer.decode(one) for one in pieces.held_out)
    given = "".join(tokenizer.decode(one) for one in pieces.calibration)
    assert "number 10 " in held
    assert "number 10 " not in given
    assert "number 11 " in given


def test_a_row_that_repeats_is_not_measured_on(tokenizer: Any, tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [{"text": "the same again and again"}] * 40)
    config = of(calibration_dataset=str(path), calibration_length=16)
    with pytest.raises(DataError, match="do not fill one piece"):
        texts.pieces_of(config, texts.sources_of(config), tokenizer)


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
    path = rows(tmp_path / "a.jsonl", [row] * 10)
    (source,) = texts.sources_of(of(calibration_dataset=str(path)))
    found = texts.examples_of([source])
    assert len(found) == 10
    assert "b" in texts.written(found[0], tokenizer)
