"""What a merge holds in memory is a part of the model, and the result is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adapters import make_adapter
from live_tensors import LiveTensors
from merge_run import MergeRun
from tiny import SIZES, build
from transformers import Qwen3Config, Qwen3ForCausalLM

from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.cast import WeightTypes, cast_weights
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.merge_layers import merge_and_unload
from swiftbox.core.weights.weight_store import WeightStore
from swiftbox.devices import host

pytestmark = pytest.mark.filterwarnings("ignore")

LAYERS = 4


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bfloat16 model of many layers with its tokenizer."""
    folder = build("qwen3", tmp_path_factory.mktemp("deep"))
    torch.manual_seed(0)
    config = Qwen3Config(**{**SIZES, "num_hidden_layers": LAYERS}, head_dim=16)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_a_merge_without_free_memory_writes_the_same_model(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(deep, tmp_path / "a", target_modules="all-linear")
    plenty = MergeRun(tmp_path / "plenty", adapter=adapter)
    monkeypatch.setattr(host, "memory", lambda: (64 * 2**30, 0))
    scarce = MergeRun(tmp_path / "scarce", adapter=adapter)
    written = "model.safetensors"
    assert (scarce.folder / written).read_bytes() == (plenty.folder / written).read_bytes()
    assert scarce.figures["steps"][0]["maximum"] == plenty.figures["steps"][0]["maximum"]
    assert not list((tmp_path / "scarce").glob(".weights-*"))


def test_merging_and_casting_hold_one_layer_in_float32(deep: Path, tmp_path: Path) -> None:
    adapter = make_adapter(deep, tmp_path / "a", target_modules="all-linear")
    shapes, types = adapter_shapes(adapter), WeightTypes("bfloat16", {})
    store = WeightStore(tmp_path, 0)
    with LiveTensors() as tensors:
        model = load_merge_base(BaseFiles(deep, types))
        network = attach_adapter(model, adapter, shapes)
        held_before = tensors.bytes
        cast_weights(merge_and_unload(network, store.keep), types, store.keep)
    in_float32 = 4 * sum(weight.numel() for weight in model.parameters())
    assert tensors.peak - held_before <= in_float32 / 4
    assert held_before <= 4 * (adapter / "adapter_model.safetensors").stat().st_size


def test_weights_over_the_limit_are_mapped_from_files_without_a_name(tmp_path: Path) -> None:
    store = WeightStore(tmp_path, 400)
    first, second = torch.rand(10, 10), torch.rand(3, 7, dtype=torch.float64)
    assert store.keep(first) is first
    mapped = store.keep(second)
    assert mapped.untyped_storage().filename is not None
    assert torch.equal(mapped, second)
    assert not list(tmp_path.iterdir())
