"""The JSON Schema agrees with the reader."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from swiftbox.config.presets import presets
from swiftbox.config.schema import schema
from swiftbox.methods import METHODS
from swiftbox.tasks.schema import schema_of


@pytest.fixture
def train_schema() -> dict[str, Any]:
    return schema([method.config for method in METHODS.values()], "stage")


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_valid(name: str) -> None:
    values = yaml.safe_load(presets()[name].read_text(encoding="utf-8"))
    validator_of(values["task"]).validate(values)


@cache
def validator_of(task: str) -> Any:
    """Return the validator of a task's schema, which takes half a second to check."""
    definition = schema_of(task)
    validator = jsonschema.validators.validator_for(definition)
    validator.check_schema(definition)
    return validator(definition)


@pytest.mark.parametrize(
    "wrong",
    [{"lora_rank": 0}, {"dtype": "bfloat"}, {"unknown": 1}, {"seed": "x"}, {"stage": "stf"}],
)
def test_what_the_reader_refuses_is_invalid(
    wrong: dict[str, Any], train_schema: dict[str, Any]
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"stage": "sft", "model": "m", "dataset": "d", **wrong}, train_schema)


def test_a_dataset_may_be_a_single_mapping() -> None:
    training = {"task": "train", "stage": "sft", "model": "m"}
    source = {"path": "a.jsonl", "split": "train", "columns": {"x": "query"}}
    train = validator_of("train")
    assert train.is_valid({**training, "dataset": source, "val_dataset": source})
    assert not train.is_valid({**training, "dataset": {"split": "train"}})
    quantize = {"task": "quantize", "method": "gptq", "model": "m"}
    assert validator_of("quantize").is_valid({**quantize, "calibration_dataset": source})


REQUIRED = ("model", "dataset", "reward_funcs", "teacher_model")


def test_every_key_is_described_with_its_default(train_schema: dict[str, Any]) -> None:
    for variant in train_schema["oneOf"]:
        for key, described in variant["properties"].items():
            assert described["description"], key
            assert "default" in described or key in REQUIRED, key
