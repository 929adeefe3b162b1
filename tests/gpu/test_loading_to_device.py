"""Weights are read to the device, and a streamed model computes there as an entire one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import make_adapter, token_ids
from on_device import OnDevice
from transformers import AutoModelForCausalLM

from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.cast import WeightTypes
from swiftbox.core.weights.compare import compare_outputs, run_prompts
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.merge_layers import merge_and_unload
from swiftbox.core.weights.streamed import ComputePlace, streamed


def halved(model: Path, folder: Path) -> Path:
    """Save a model in bfloat16; return its folder."""
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def outputs(model: Any, prompts: list[torch.Tensor], place: ComputePlace) -> Any:
    with streamed(model, place):
        return run_prompts(model, prompts)


@pytest.mark.gpu("torch_device", "weight_loading")
def test_a_training_loads_its_base_on_the_device(on_device: OnDevice) -> None:
    (loaded,) = on_device.train(max_steps=1).of_kind("loaded")
    assert loaded["device"].split(":")[0] == on_device.torch_device


@pytest.mark.gpu("torch_device")
@pytest.mark.parametrize("kept_bytes", [0, 10**9])
def test_a_streamed_model_computes_as_the_entire_one(on_device: OnDevice, kept_bytes: int) -> None:
    device, prompts = torch.device(on_device.torch_device), [token_ids(on_device.model)[0]]
    base_folder = halved(on_device.model, on_device.folder / "halved")
    entire = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).to(device)
    model = load_merge_base(BaseFiles(base_folder, WeightTypes("bfloat16", {})))
    streamed_outputs = outputs(model, prompts, ComputePlace(device, kept_bytes=kept_bytes))
    assert torch.equal(streamed_outputs.logits[0], run_prompts(entire, prompts).logits[0])


@pytest.mark.gpu("torch_device")
def test_a_merge_is_within_rounding_of_its_adapter_on_the_device(on_device: OnDevice) -> None:
    base_folder = halved(on_device.model, on_device.folder / "halved")
    adapter = make_adapter(base_folder, on_device.folder / "adapter", target_modules="all-linear")
    prompts = [token_ids(on_device.model)[0]]
    place = ComputePlace(torch.device(on_device.torch_device))
    network = attach_adapter(
        load_merge_base(BaseFiles(base_folder, WeightTypes("bfloat16", {}))),
        adapter,
        adapter_shapes(adapter),
    )
    before = outputs(network, prompts, place)
    merged = merge_and_unload(network, torch.clone)
    difference = compare_outputs(before, outputs(merged, prompts, place))
    assert difference.is_rounding, difference
