"""Decisions on made-up machines of all kinds: the value, its reason, and refusals with a cure."""

from __future__ import annotations

import pytest
from made_up import DEVICES, made_up

from swiftbox.devices import choices
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.doctor import MISSING, OK, WARN, report
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError


@pytest.mark.parametrize(
    ("name", "dtype", "optimizer", "distributed", "checkpointing"),
    [
        ("cuda", "bfloat16", "adamw_torch_fused", "ddp", "true"),
        ("rtx4090", "bfloat16", "adamw_torch_fused", "none", "true"),
        ("v100", "float16", "adamw_torch_fused", "none", "true"),
        ("rocm", "bfloat16", "adamw_torch_fused", "ddp", "true"),
        ("mi50", "float16", "adamw_torch_fused", "none", "true"),
        ("npu", "bfloat16", "adamw_torch", "ddp", "true"),
        ("ascend910a", "float16", "adamw_torch", "none", "true"),
        ("mps", "bfloat16", "adamw_torch_fused", "none", "true"),
        ("cpu", "float32", "adamw_torch_fused", "none", "false"),
    ],
)
def test_auto_is_settled_with_a_reason(
    name: str, dtype: str, optimizer: str, distributed: str, checkpointing: str
) -> None:
    machine = made_up(name)
    count = max(1, len(machine.devices))
    found = [
        choices.choose_dtype(machine, "auto"),
        choices.choose_optimizer(machine, "auto"),
        choices.choose_distributed(machine, "auto", count),
        choices.choose_checkpointing(machine, "auto"),
    ]
    assert [one.value for one in found] == [dtype, optimizer, distributed, checkpointing]
    assert all(one.reason for one in found)


@pytest.mark.parametrize(
    ("name", "versions", "attention"),
    [
        ("cuda", {}, "sdpa"),
        ("cuda", {"flash_attn": "2.8.3"}, "flash_attention_2"),
        ("npu", {}, "flash_attention_2"),
        ("mps", {"flash_attn": "2.8.3"}, "sdpa"),
        ("cpu", {}, "sdpa"),
    ],
)
def test_flash_attention_is_taken_where_it_is_installed(
    name: str, versions: dict[str, str], attention: str
) -> None:
    machine = made_up(name, **versions)
    dtype = choices.choose_dtype(machine, "auto").value
    assert choices.choose_attention(machine, "auto", dtype).value == attention


@pytest.mark.parametrize(
    ("name", "choose"),
    [
        ("v100", lambda machine: choices.choose_dtype(machine, "bfloat16")),
        ("ascend910a", lambda machine: choices.choose_dtype(machine, "bfloat16")),
        ("cpu", lambda machine: choices.choose_dtype(machine, "float16")),
        ("cpu", lambda machine: choices.choose_attention(machine, "flex_attention", "float32")),
        ("mps", lambda machine: choices.choose_attention(machine, "flex_attention", "bfloat16")),
        (
            "cuda",
            lambda machine: choices.choose_attention(machine, "flash_attention_2", "bfloat16"),
        ),
        ("npu", lambda machine: choices.choose_optimizer(machine, "adamw_8bit")),
        ("cpu", lambda machine: choices.choose_optimizer(machine, "paged_adamw_8bit")),
        ("mps", lambda machine: choices.choose_distributed(machine, "ddp", 1)),
        ("rtx4090", lambda machine: choices.choose_distributed(machine, "fsdp", 1)),
        ("cuda", lambda machine: choices.choose_distributed(machine, "zero3", 8)),
    ],
)
def test_what_cannot_work_is_refused_with_a_cure(name: str, choose: object) -> None:
    with pytest.raises(MachineError) as caught:
        choose(made_up(name))
    assert len(caught.value.message) > 20
    assert caught.value.hint


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_backend_row_is_complete_and_names_its_sources(name: str) -> None:
    backend = BACKENDS[name]
    assert len(backend.cells) >= 40
    assert all(cell.source for cell in backend.cells.values())
    assert {cell.supported for cell in backend.cells.values()} <= {"yes", "partial", "no"}
    assert "float32" in backend.dtypes
    assert "sdpa" in backend.attention
    assert backend.serve_engines


def test_quantizing_is_blocked_where_the_wheel_has_no_kernels() -> None:
    assert "bnb-nf4" not in BACKENDS["npu"].quantizers
    assert "bnb-nf4" in BACKENDS["cuda"].quantizers


@pytest.mark.parametrize("name", sorted(DEVICES))
def test_a_machine_survives_being_written_and_read(name: str) -> None:
    machine = made_up(name)
    assert Machine.from_dict(machine.to_dict()) == machine


def test_threads_are_shared_out_between_processes() -> None:
    assert choices.environment(made_up("cuda"), 8)["OMP_NUM_THREADS"] == "2"
    assert choices.environment(made_up("cpu"), 1)["OMP_NUM_THREADS"] == "16"


def test_the_doctor_gives_the_install_line_of_what_is_missing() -> None:
    found = report(made_up("cpu"), {"torch": "2.13.0", "peft": "0.21.2"})
    lines = {line.what: line for line in found.lines}
    assert lines["torch"].verdict == OK
    assert lines["peft"].verdict == MISSING
    assert lines["peft"].cure == "pip install peft==0.21.2"


def test_the_doctor_minds_an_untested_version() -> None:
    found = report(made_up("cpu"), {"torch": "2.14.0"})
    assert [line.verdict for line in found.lines if line.what == "torch"] == [WARN]


def test_the_doctor_sees_a_card_that_this_torch_cannot_use() -> None:
    machine = Machine.from_dict({**made_up("cpu").to_dict(), "hardware": ["cuda"]})
    first = report(machine, {}).lines[0]
    assert first.verdict == MISSING
    assert "cuda hardware is here" in first.found
    assert first.cure == "pip install torch==2.13.0"
