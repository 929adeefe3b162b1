"""What cannot be right is refused before weights move, with the cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from tiny import write_chats, write_config, write_labels, write_pairs

from swiftbox.devices.machine import Machine
from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config
from swiftbox.plan import plan
from swiftbox.tasks.load import load

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a negative beta": ("dpo", {"beta": -1}, "beta: should be greater than 0 (got -1)"),
    "an unknown loss": ("dpo", {"loss_type": "foo"}, "loss_type: should be one of sigmoid, hinge"),
    "weights that are too few": (
        "dpo",
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]},
        "a.yaml:17 loss_weights: 1 weights for 2 losses",
    ),
    "robust without wrong labels": (
        "dpo",
        {"loss_type": "robust"},
        "loss_type: robust needs label_smoothing above 0",
    ),
    "a key of another stage": ("sft", {"beta": 0.1}, "beta: belongs to stage: dpo"),
    "packed pairs": ("dpo", {"packing": True}, "packing: not available for stage: dpo"),
    "kto of one": (
        "kto",
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
        "per_device_train_batch_size: KTO compares",
    ),
    "groups that do not fill": (
        "grpo",
        {"reward_funcs": "length", "num_generations": 3, "gradient_accumulation_steps": 1},
        "cannot be divided into groups of 3",
    ),
    "an optimizer that the engine does not have": (
        "grpo",
        {"reward_funcs": "length", "num_generations": 4, "optim": "lora_fa"},
        "optim: lora_fa is not available for stage: grpo",
    ),
    "no such reward": (
        "grpo",
        {"reward_funcs": "beauty", "num_generations": 4},
        "reward_funcs: unknown reward function beauty",
    ),
    "no such file of rewards": (
        "grpo",
        {"reward_funcs": "none.py:good", "num_generations": 4},
        "reward_funcs: none.py does not exist",
    ),
}


def refusal(path: Path, backend: str = "cpu") -> str:
    try:
        config = load(path).config
        plan(config, made_up(backend))
        check_config(config)
    except UserError as error:
        return f"{error.message} {error.hint}"
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused(name: str, tmp_path: Path, tiny: Path) -> None:
    stage, keys, expected = WRONG[name]
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"per_device_train_batch_size": 4, **keys}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage=stage, **keys)
    assert expected in refusal(path)


@pytest.mark.parametrize(
    ("stage", "write", "expected"),
    [
        ("dpo", write_chats, "messages rows are for stage: sft, not dpo"),
        ("kto", write_chats, "messages rows are for stage: sft, not kto"),
        ("dpo", write_labels, "are for stage: kto, not dpo"),
        ("sft", write_pairs, "are for stage: dpo"),
    ],
)
def test_rows_of_another_stage_are_refused_with_the_one_they_train(
    stage: str, write: Any, expected: str, tmp_path: Path, tiny: Path
) -> None:
    data = write(tmp_path / "rows.jsonl", 3)
    keys = {"per_device_train_batch_size": 4}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage=stage, **keys)
    message = refusal(path)
    assert "rows.jsonl:1 " in message
    assert expected in message


def test_qlora_is_refused_where_nothing_quantizes(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "rows.jsonl", 3)
    path = write_config(tmp_path / "a.yaml", tiny, data, tuner_type="qlora")
    message = refusal(path, "npu")
    assert "bitsandbytes has no Ascend kernels" in message
    assert "tuner_type: lora" in message


@pytest.mark.parametrize(
    ("missing", "rewards", "named"),
    [
        ("trl", "length", "TRL is not installed"),
        ("math_verify", ["length", "accuracy"], "math-verify, which is not installed"),
    ],
)
def test_a_missing_package_of_online_methods_is_named_with_its_install_line(
    missing: str, rewards: Any, named: str, tmp_path: Path, tiny: Path
) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"reward_funcs": rewards, "per_device_train_batch_size": 8}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="grpo", **keys)
    with pytest.raises(UserError, match=named) as caught:
        plan(load(path).config, without(made_up("cpu"), missing))
    assert caught.value.hint == "pip install 'swiftbox[rl]'"


def test_other_rewards_do_not_need_math_verify(tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 3)
    keys = {"reward_funcs": ["length", "format"], "per_device_train_batch_size": 8}
    path = write_config(tmp_path / "a.yaml", tiny, data, stage="grpo", **keys)
    assert plan(load(path).config, without(made_up("cpu"), "math_verify"))


def without(machine: Machine, package: str) -> Machine:
    versions = {name: version for name, version in machine.versions.items() if name != package}
    return replace(machine, versions=versions)
