"""Each method and tuner trains on the device: the loss is a number and falls."""

from __future__ import annotations

import pytest
import torch
from on_device import OnDevice
from tiny import write_texts

from swiftbox.core.training.activation_offload import StreamCopies
from swiftbox.runs import events

LONGER = {"max_steps": 12}
LONG_ROWS = 32
"""Of 900 tokens: each activation of a tiny model then takes more than a MiB."""


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


@pytest.mark.gpu("gradient_checkpointing")
@pytest.mark.parametrize("choice", ["true", "selective"])
def test_recomputing_activations_changes_no_loss(on_device: OnDevice, choice: str) -> None:
    on_device.require("gradient_checkpointing")
    plain = on_device.train("plain", gradient_checkpointing="false")
    saving = on_device.train("saving", gradient_checkpointing=choice)
    # The same operations in the same order; kernels that sum in another order may be chosen.
    assert saving.losses == pytest.approx(plain.losses, rel=2e-3)
    if choice == "true":
        assert saving.attention.total() == 2 * plain.attention.total()


@pytest.mark.gpu("activation_offload")
def test_activations_in_main_memory_change_no_loss(
    on_device: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device.require("activation_offload")
    keys = {
        "stage": "pt",
        "dataset": write_texts(on_device.folder / "long.txt", 60 * LONG_ROWS),
        "packing": True,
        "max_length": 900,
        "per_device_train_batch_size": LONG_ROWS,
        "gradient_checkpointing": "false",
        "max_steps": 2,
    }
    plain = on_device.train("plain", **keys)
    moved: list[int] = []
    store = StreamCopies.store

    def recorded_store(copies: StreamCopies, tensor: torch.Tensor) -> torch.Tensor:
        moved.append(tensor.numel() * tensor.element_size())
        return store(copies, tensor)

    monkeypatch.setattr(StreamCopies, "store", recorded_store)
    saving = on_device.train("saving", activation_offload=True, **keys)
    # Several tensors of each of the two layers, in each of the two updates.
    assert len(moved) >= 8, moved
    assert saving.losses == pytest.approx(plain.losses, rel=2e-3)


@pytest.mark.gpu("liger_kernel")
def test_the_kernels_of_liger_change_no_loss(on_device: OnDevice) -> None:
    on_device.require("liger_kernel")
    if not on_device.machine.devices:
        pytest.skip("its kernels need an accelerator")
    plain = on_device.train("plain")
    fused = on_device.train("fused", use_liger_kernel=True)
    fused.require_note("use_liger_kernel", "is in use")
    # bfloat16 has 8 bits: fused kernels round elsewhere, by less than 1 % of a loss.
    assert fused.losses == pytest.approx(plain.losses, rel=1e-2)


@pytest.mark.gpu("torch_compile")
@pytest.mark.slow
def test_compiled_layers_change_no_loss(
    on_device: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device.require("torch_compile")
    if not on_device.machine.devices:
        pytest.skip("compiling on a CPU takes minutes; its tests are elsewhere")
    from torch._dynamo.utils import counters

    monkeypatch.setattr("torch._dynamo.config.disable", False)
    plain = on_device.train("plain")
    compiled_before = counters["frames"]["ok"]
    compiled = on_device.train("compiled", torch_compile=True)
    assert counters["frames"]["ok"] > compiled_before
    assert compiled.of_kind(events.WARNING) == []
    # bfloat16 has 8 bits: fused kernels round elsewhere, by less than 1 % of a loss.
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-2)
