"""What loading costs the host: tensors go from their file to the device, quantized one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hollow_models import qwen_72b, write_hollow_model
from live_tensors import LiveTensors
from tiny import SIZES, write_chats, write_config
from transformers import Qwen3Config, Qwen3ForCausalLM

from swiftbox.config.merge import Quantization
from swiftbox.core.weights.load import load_pretrained, load_trainable
from swiftbox.core.weights.quantized_bases import bitsandbytes_config
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")

LAYERS = 12
WIDTH = 256
HOST_BYTES_OF_72B = 8 * 2**30
"""What 72 billion weights in NF4 may take of the host's memory."""

SDPA = {"attn_implementation": "sdpa"}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bfloat16 model of many layers, in several files."""
    folder = tmp_path_factory.mktemp("deep")
    torch.manual_seed(0)
    sizes = {**SIZES, "num_hidden_layers": LAYERS, "vocab_size": 128, "intermediate_size": WIDTH}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=16)).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def bytes_of(model: Any) -> int:
    """Return the bytes that a model keeps in memory, those of its quantization states too."""
    total = 0
    for weight in model.parameters():
        total += weight.numel() * weight.element_size()
        state = getattr(weight, "quant_state", None)
        tensors = [] if state is None else [state.absmax, state.code]
        if state is not None and state.nested:
            tensors += [state.offset, state.state2.absmax, state.state2.code]
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return total


def unquantized(folder: Path) -> Any:
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(("bits", "double"), [(4, False), (4, True), (8, False)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_base_is_quantized_one_matrix_at_a_time(
    bits: int, double: bool, dtype: str, deep: Path
) -> None:
    config = bitsandbytes_config(Quantization(bits, "nf4", double, dtype))
    with LiveTensors() as tensors:
        model = load_pretrained(deep, dtype=getattr(torch, dtype), quantization_config=config)
    largest = 4 * SIZES["hidden_size"] * WIDTH  # in float32
    full_precision = 2 * sum(weight.numel() for weight in unquantized(deep).parameters())
    assert tensors.peak <= bytes_of(model) + 3 * largest  # the matrix, its cast, its packed form
    assert 6 * largest < full_precision


@pytest.mark.parametrize("tuner_type", ["lora", "full"])
def test_weights_go_from_their_file_to_the_device(
    tuner_type: str, deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # tensors are counted in this thread
    chats = write_chats(tmp_path / "chat.jsonl", 2)
    config = load(
        write_config(tmp_path / "a.yaml", deep, chats, tuner_type=tuner_type, **SDPA)
    ).config
    with LiveTensors() as tensors:
        model = load_trainable(deep, config, device=torch.device("meta"))
    assert {str(weight.device) for weight in model.parameters()} == {"meta"}
    assert not hasattr(model, "hf_device_map")  # Trainer would take it for a split model
    assert not any(hasattr(module, "_hf_hook") for module in model.modules())
    assert tensors.peak <= 4 * SIZES["hidden_size"] * WIDTH  # the tensor that is being read


def test_placed_weights_are_those_of_the_file(deep: Path, tmp_path: Path) -> None:
    chats = write_chats(tmp_path / "chat.jsonl", 2)
    config = load(write_config(tmp_path / "a.yaml", deep, chats, **SDPA)).config
    placed = load_trainable(deep, config, device=torch.device("cpu")).state_dict()
    for name, weight in unquantized(deep).state_dict().items():
        assert torch.equal(placed[name], weight), name


def test_the_host_of_a_device_has_one_tensor_of_a_72b_base_in_nf4(tmp_path: Path) -> None:
    sizes = write_hollow_model(tmp_path, qwen_72b(layers=8))  # the others have the same shapes
    assert sum(sizes.values()) > 2 * HOST_BYTES_OF_72B
    config = bitsandbytes_config(Quantization(4, "nf4", True, "bfloat16"))
    with LiveTensors() as tensors:  # a tensor that its file maps counts as well
        model = load_pretrained(
            tmp_path, dtype=torch.bfloat16, quantization_config=config, device_map={"": "meta"}
        )
    assert tensors.peak <= max(sizes.values()) < HOST_BYTES_OF_72B
    assert tensors.bytes == 0
    assert {str(weight.device) for weight in model.parameters()} == {"meta"}
