from __future__ import annotations

import re
from dataclasses import replace

import pytest
from made_up import DEVICES, made_up

from swiftbox.devices import choices
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.choices import Choice
from swiftbox.errors import MachineError

EVERY = pytest.mark.parametrize("name", DEVICES)


@pytest.mark.parametrize(
    ("name", "dtype", "why"),
    [
        ("cuda", "bfloat16", "9.0: bfloat16 has hardware support"),
        ("a100", "bfloat16", "8.0: "),
        ("rtx5090", "bfloat16", "12.0: "),
        ("t4", "float16", "Tesla T4 (7.5): bfloat16 has hardware support"),
        ("v100", "float16", "Tesla V100-SXM2-32GB (7.0): "),
        ("mixed", "float16", "Tesla V100-SXM2-32GB (7.0): "),
        ("p100", "float32", "Tesla P100-PCIE-16GB (6.0): "),
        ("rocm", "bfloat16", "gfx942: "),
        ("mi250", "bfloat16", "gfx90a: "),
        ("mi50", "float16", "AMD Radeon VII (gfx906): "),
        ("npu", "bfloat16", "Ascend910B3: "),
        ("ascend910c", "bfloat16", "Ascend910_9391: "),
        ("ascend910a", "float16", "Ascend910A (Ascend910A): "),
        ("mps", "bfloat16", "M2 macOS 15: "),
        ("old_mac", "float16", "Apple M1 (M1 macOS 13): bfloat16 needs macOS 14"),
        ("cpu", "float32", "exact"),
        ("amx_cpu", "float32", "exact; this CPU has bfloat16 too"),
    ],
)
def test_the_best_number_type_of_a_machine(name: str, dtype: str, why: str) -> None:
    choice = choices.choose_dtype(made_up(name), "auto")
    assert choice.value == dtype
    assert choice.reason.startswith(why)


@EVERY
def test_float32_works_everywhere(name: str) -> None:
    assert choices.choose_dtype(made_up(name), "float32") == Choice("float32", "as requested")


@pytest.mark.parametrize("name", ["v100", "t4", "p100", "mixed", "mi50", "ascend910a", "old_mac"])
def test_bfloat16_is_refused_where_a_device_lacks_it(name: str) -> None:
    machine = made_up(name)
    with pytest.raises(MachineError) as caught:
        choices.choose_dtype(machine, "bfloat16")
    assert BACKENDS[machine.backend].refusal("dtype_bf16") in caught.value.message
    assert caught.value.message.startswith("dtype: bfloat16: ")
    assert caught.value.hint == "set dtype: auto"


def test_bfloat16_on_an_old_processor_is_allowed_and_called_slow() -> None:
    assert "slow" in choices.choose_dtype(made_up("cpu"), "bfloat16").reason
    assert choices.choose_dtype(made_up("amx_cpu"), "bfloat16").reason == "as requested"


@pytest.mark.parametrize("name", ["cpu", "p100"])
def test_float16_is_refused_where_it_does_not_train(name: str) -> None:
    machine = made_up(name)
    with pytest.raises(MachineError) as caught:
        choices.choose_dtype(machine, "float16")
    assert BACKENDS[machine.backend].refusal("dtype_fp16") in caught.value.message


@EVERY
def test_the_optimizer_is_fused_adamw_where_the_row_has_no_condition(name: str) -> None:
    machine = made_up(name)
    choice = choices.choose_optimizer(machine, "auto")
    expected = "adamw_torch" if machine.backend == "npu" else "adamw_torch_fused"
    assert choice == Choice(expected, BACKENDS[machine.backend].refusal("fused_adamw"))


def test_fused_adamw_on_ascend_is_refused_in_float16_only() -> None:
    machine = made_up("npu")
    assert choices.choose_optimizer(machine, "adamw_torch_fused", "bfloat16").value
    with pytest.raises(MachineError, match="loss scaling"):
        choices.choose_optimizer(machine, "adamw_torch_fused", "float16")


@pytest.mark.parametrize(
    ("name", "requested", "because"),
    [
        ("npu", "adamw_8bit", "no 8-bit optimizer kernel for Ascend"),
        ("mps", "adamw_8bit", "for Apple GPUs yet"),
        ("npu", "paged_adamw_8bit", "no paged optimizer for Ascend"),
        ("mps", "paged_adamw_8bit", "no paged optimizer for Apple"),
        ("cpu", "paged_adamw_8bit", "silently become plain ones"),
    ],
)
def test_an_optimizer_that_cannot_work_is_refused(name: str, requested: str, because: str) -> None:
    with pytest.raises(MachineError, match=because) as caught:
        choices.choose_optimizer(made_up(name), requested)
    assert caught.value.hint == "set optim: auto"


def test_an_optimizer_without_its_package_comes_with_the_command_that_installs_it() -> None:
    machine = replace(made_up("cuda"), versions={"torch": "2.13.0"})
    with pytest.raises(MachineError, match="bitsandbytes is not installed") as caught:
        choices.choose_optimizer(machine, "adamw_8bit")
    assert "pip install bitsandbytes==0.50.2" in caught.value.hint


@pytest.mark.parametrize("requested", ["adamw_torch", "adafactor", "sgd"])
@EVERY
def test_plain_optimizers_work_everywhere(name: str, requested: str) -> None:
    assert choices.choose_optimizer(made_up(name), requested) == Choice(requested, "as requested")


@pytest.mark.parametrize(
    ("name", "devices", "expected"),
    [
        ("cuda", None, "ddp"),
        ("rocm", None, "ddp"),
        ("npu", None, "ddp"),
        ("cuda", 1, "none"),
        ("h100", None, "none"),
        ("mps", None, "none"),
        ("cpu", None, "none"),
        ("cpu", 2, "ddp"),
        ("mps", 2, "none"),
    ],
)
def test_several_devices_work_together(name: str, devices: int | None, expected: str) -> None:
    assert choices.choose_distributed(made_up(name), "auto", devices).value == expected


@pytest.mark.parametrize("requested", ["ddp", "fsdp", "zero1", "zero2", "zero3"])
def test_a_strategy_for_several_devices_is_refused_on_one(requested: str) -> None:
    with pytest.raises(MachineError, match="this machine has one"):
        choices.choose_distributed(made_up("h100", deepspeed="0.19.8"), requested)


@pytest.mark.parametrize("stage", ["zero1", "zero2", "zero3"])
def test_zero_needs_deepspeed(stage: str) -> None:
    with pytest.raises(MachineError, match="deepspeed is not installed") as caught:
        choices.choose_distributed(made_up("cuda"), stage)
    assert "pip install deepspeed==" in caught.value.hint
    machine = made_up("cuda", deepspeed="0.19.8")
    assert choices.choose_distributed(machine, stage).value == stage


@pytest.mark.parametrize(
    ("name", "requested", "because"),
    [
        ("mps", "ddp", "there is one device"),
        ("mps", "fsdp", "DeviceMesh does not support mps"),
        ("mps", "zero3", "no communication on mps"),
        ("cpu", "fsdp", "silently turns fsdp into ddp"),
    ],
)
def test_a_strategy_without_support_is_refused(name: str, requested: str, because: str) -> None:
    with pytest.raises(MachineError, match=because):
        choices.choose_distributed(made_up(name), requested, 2)


def test_one_process_is_allowed_on_many_devices() -> None:
    assert choices.choose_distributed(made_up("cuda"), "none").value == "none"


def test_activations_are_recomputed_on_accelerators_only() -> None:
    assert choices.choose_checkpointing(made_up("cuda"), "auto").value == "true"
    assert choices.choose_checkpointing(made_up("cpu"), "auto").value == "false"
    assert choices.choose_checkpointing(made_up("cuda"), "false") == Choice("false", "as requested")


@pytest.mark.parametrize(
    ("name", "library", "variable"),
    [
        ("cuda", "nccl", "CUDA_VISIBLE_DEVICES"),
        ("rocm", "nccl", "HIP_VISIBLE_DEVICES"),
        ("npu", "hccl", "ASCEND_RT_VISIBLE_DEVICES"),
        ("mps", "gloo", ""),
        ("cpu", "gloo", ""),
    ],
)
def test_the_names_of_a_backend_come_with_their_reason(
    name: str, library: str, variable: str
) -> None:
    machine = made_up(name)
    assert choices.collective(machine).value == library
    assert BACKENDS[name].visible_devices_env == variable
    assert choices.collective(machine).reason


def test_processes_share_the_cores() -> None:
    assert choices.environment(made_up("cuda"), 8)["OMP_NUM_THREADS"] == "2"
    assert choices.environment(made_up("cpu"), 64)["OMP_NUM_THREADS"] == "1"
    assert choices.environment(made_up("mps"), 1)["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"


def test_every_reason_is_in_chinese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    for name in DEVICES:
        machine = made_up(name)
        for choice in (
            choices.choose_dtype(machine, "auto"),
            choices.choose_optimizer(machine, "auto"),
            choices.choose_distributed(machine, "auto"),
            choices.choose_checkpointing(machine, "auto"),
            choices.collective(machine),
        ):
            assert re.search(r"[\u4e00-\u9fff]", choice.reason), choice
