"""Each method and tuner trains on the device: the loss is a number and falls."""

from __future__ import annotations

import pytest
from on_device import OnDevice

LONGER = {"max_steps": 12}


@pytest.mark.gpu("torch_device", "attn_sdpa")
@pytest.mark.parametrize("tuner", ["lora", "full"])
@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "reward"])
def test_a_method_learns(on_device: OnDevice, stage: str, tuner: str) -> None:
    trained = on_device.train(stage=stage, tuner_type=tuner, **LONGER)
    trained.require_finite_and_falling()


@pytest.mark.gpu("bnb_nf4")
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_an_nf4_base_learns(on_device: OnDevice, stage: str) -> None:
    on_device.require("bnb_nf4")
    trained = on_device.train(stage=stage, tuner_type="qlora", quant_bits=4, **LONGER)
    trained.require_finite_and_falling()


@pytest.mark.gpu("bnb_int8")
def test_an_int8_base_learns(on_device: OnDevice) -> None:
    on_device.require("bnb_int8")
    trained = on_device.train(tuner_type="qlora", quant_bits=8, **LONGER)
    trained.require_finite_and_falling()


@pytest.mark.gpu("fused_adamw", "bnb_optim_8bit", "bnb_optim_paged")
@pytest.mark.parametrize(
    ("optimizer", "row"),
    [
        ("adamw_torch_fused", "fused_adamw"),
        ("adamw_8bit", "bnb_optim_8bit"),
        ("paged_adamw_8bit", "bnb_optim_paged"),
    ],
)
def test_an_optimizer_learns(on_device: OnDevice, optimizer: str, row: str) -> None:
    on_device.require(row)
    trained = on_device.train(tuner_type="full", optim=optimizer, **LONGER)
    trained.require_finite_and_falling()


@pytest.mark.gpu("gradient_checkpointing", "activation_offload")
@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ("gradient_checkpointing", {"gradient_checkpointing": "true"}),
        ("activation_offload", {"activation_offload": True}),
    ],
)
def test_saving_memory_changes_no_loss(
    on_device: OnDevice, row: str, keys: dict[str, object]
) -> None:
    on_device.require(row)
    plain = on_device.train("plain", gradient_checkpointing="false")
    saving = on_device.train("saving", **{"gradient_checkpointing": "false", **keys})
    # The same operations in the same order; kernels that sum in another order may be chosen.
    assert saving.losses == pytest.approx(plain.losses, rel=2e-3)


@pytest.mark.gpu("liger_kernel", "torch_compile")
@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("liger_kernel", "use_liger_kernel"),
        pytest.param("torch_compile", "torch_compile", marks=pytest.mark.slow),
    ],
)
def test_other_kernels_change_no_loss(
    on_device: OnDevice, row: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device.require(row)
    if not on_device.machine.devices:
        pytest.skip("compiling on a CPU takes minutes; its tests are elsewhere")
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    plain = on_device.train("plain")
    other = on_device.train("other", **{key: True})
    # bfloat16 has 8 bits: fused kernels round elsewhere, by less than 1 % of a loss.
    assert other.losses == pytest.approx(plain.losses, rel=1e-2)
