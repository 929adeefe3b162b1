"""Number types on the device: what trains in which, and what stays in float32."""

from __future__ import annotations

import math

import pytest
import torch
from on_device import OnDevice

from swiftbox.core.losses.log_prob_reader import hidden_at
from swiftbox.core.weights.load import load_trainable

ROWS = {"float32": "dtype_fp32", "bfloat16": "dtype_bf16", "float16": "dtype_fp16"}


@pytest.mark.gpu("dtype_fp32", "dtype_bf16", "dtype_fp16", "autocast")
@pytest.mark.parametrize("dtype", ROWS)
def test_a_dtype_learns(on_device: OnDevice, dtype: str) -> None:
    on_device.require(ROWS[dtype])
    on_device.train(dtype=dtype, max_steps=12).require_finite_and_falling()


@pytest.mark.gpu("dtype_fp16")
@pytest.mark.parametrize(
    ("stage", "keys"),
    [("reward", {}), ("sft", {"modules_to_save": ["lm_head"]}), ("sft", {"tuner_type": "full"})],
)
def test_trained_weights_beside_the_adapter_train_in_float16(
    on_device: OnDevice, stage: str, keys: dict[str, object]
) -> None:
    on_device.require("dtype_fp16")
    trained = on_device.train(stage=stage, dtype="float16", max_steps=8, **keys)
    assert all(math.isfinite(loss) for loss in trained.losses)


@pytest.mark.gpu("autocast", "bnb_nf4")
def test_the_head_of_a_quantized_base_gets_16_bits(on_device: OnDevice) -> None:
    on_device.require("bnb_nf4")
    dtype = torch.bfloat16
    trained = on_device.train(tuner_type="qlora", quant_bits=4, dtype="bfloat16", max_steps=1)
    network = load_trainable(on_device.model, trained.config).to(on_device.torch_device)
    ids = torch.tensor([[5, 6, 7]], device=on_device.torch_device)
    places = torch.arange(3, device=on_device.torch_device)
    with torch.autocast(on_device.torch_device, dtype), torch.no_grad():
        hidden = hidden_at(network, {"input_ids": ids}, places)
    assert hidden.dtype == dtype
