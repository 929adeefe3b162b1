"""Settings that save work are refused where they cannot work or have not been verified."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up import made_up

from swiftbox.devices.machine import Machine
from swiftbox.errors import UserError
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads


def resolved(machine: Machine, **keys: object):
    lines = [f"{key}: {str(value).lower()}" for key, value in keys.items()]
    config = loads("\n".join(["model: m", "dataset: d", *lines]) + "\n", source="a.yaml").config
    return TASKS["train"].resolve(config, machine)


def with_packages(machine: Machine, *names: str) -> Machine:
    return replace(machine, versions={**machine.versions, **dict.fromkeys(names, "1")})


def without(machine: Machine, name: str) -> Machine:
    return replace(machine, versions={k: v for k, v in machine.versions.items() if k != name})


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"activation_offload": True}, "in main memory already"),
        ({"use_liger_kernel": True}, "need a GPU"),
        ({"pure_bf16": True, "tuner_type": "full", "dtype": "float32"}, "dtype is float32"),
        ({"pure_bf16": True, "tuner_type": "full", "optim": "adafactor"}, "rounds small updates"),
        ({"torch_compile": True, "tuner_type": "qlora"}, "has not been verified"),
        ({"torch_compile": True, "gradient_checkpointing": "selective"}, "not been verified"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_its_reason_and_a_fix(
    keys: dict[str, object], reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        resolved(with_packages(made_up("cpu"), "cxx"), **keys)
    assert reason in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "keys",
    [
        {"pure_bf16": True, "tuner_type": "full"},
        {"activation_offload": True},
        {"torch_compile": True},
        {"gradient_checkpointing": "selective"},
        {"optim": "adamw_8bit"},
        {"optim": "paged_adamw_8bit"},
    ],
)
def test_what_is_not_known_to_work_with_sharded_weights_is_refused(
    keys: dict[str, object],
) -> None:
    machine = with_packages(made_up("cuda"), "cxx", "bitsandbytes")
    with pytest.raises(UserError, match="distributed"):
        resolved(machine, distributed="fsdp", **keys)


def test_compiling_needs_a_compiler_and_switches_the_compiler_of_torch_on() -> None:
    machine = made_up("cpu")
    with pytest.raises(UserError) as caught:
        resolved(without(machine, "cxx"), torch_compile=True)
    assert "g++" in caught.value.hint
    assert "TORCHDYNAMO_DISABLE" in resolved(machine).env
    assert (
        "TORCHDYNAMO_DISABLE" not in resolved(with_packages(machine, "cxx"), torch_compile=True).env
    )


def test_liger_kernels_are_accepted_where_the_package_is_installed() -> None:
    machine = made_up("cuda")
    with pytest.raises(UserError) as caught:
        resolved(without(machine, "liger_kernel"), use_liger_kernel=True)
    assert "pip install liger-kernel" in caught.value.hint
    assert resolved(with_packages(machine, "liger_kernel"), use_liger_kernel=True)


def test_bfloat16_weights_set_the_data_type_that_they_need() -> None:
    settled = resolved(made_up("cpu"), pure_bf16=True, tuner_type="full").config
    assert settled.dtype == "bfloat16"
