"""Experts that are quantized one by one are refused where the class of the run combines them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from asked_here import quiet_loading
from safetensors.torch import load_file, save_file
from tiny import train_tokenizer
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from swiftbox.config.deploy import DeployConfig
from swiftbox.core.weights.trial_load import report_on
from swiftbox.errors import ConfigError
from swiftbox.models.inspection import inspect
from swiftbox.models.trial_loading import inseparable_experts
from swiftbox.tasks.checks import ignored, require_loadable

EXPERT = "model.layers.0.mlp.experts.0.down_proj"


QUANTIZATION = {"quant_method": "gptq", "bits": 4, "group_size": 32}


def small_model(folder: Path) -> Path:
    """Write a model of two experts with the config.json of a quantized one, and plain weights."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1}
    sizes |= {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "vocab_size": 600}
    Qwen2MoeForCausalLM(Qwen2MoeConfig(**sizes)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    path = folder / "config.json"
    content = {**json.loads(path.read_text("utf-8")), "quantization_config": QUANTIZATION}
    path.write_text(json.dumps(content), "utf-8")
    return folder


def pack(folder: Path, part: str) -> None:
    """Replace the matrices with a part in their names by empty ones of 4 bits, as of gptqmodel."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if part in name]:
        outputs, inputs = tensors.pop(name).shape
        module = name.removesuffix(".weight")
        tensors[f"{module}.qweight"] = torch.zeros(inputs // 8, outputs, dtype=torch.int32)
        tensors[f"{module}.qzeros"] = torch.zeros(1, outputs // 8, dtype=torch.int32)
        tensors[f"{module}.scales"] = torch.zeros(1, outputs, dtype=torch.float16)
        tensors[f"{module}.g_idx"] = torch.zeros(inputs, dtype=torch.int32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose experts are stored as gptqmodel stores them, of 4 bits."""
    folder = small_model(tmp_path_factory.mktemp("experts"))
    pack(folder, ".experts.")
    return folder


def test_the_check_of_our_servers_refuses_them_and_names_what_serves_them(model: Path) -> None:
    config = DeployConfig(model=str(model), hub="local")
    with pytest.raises(ConfigError, match="its experts are quantized one by one") as caught:
        require_loadable(config, inspect(model), ignored)
    assert f"({EXPERT}.weight ...)" in caught.value.message
    assert "engine: vllm" in caught.value.hint
    require_loadable(config, inspect(model, head=None), ignored, head=None)  # vLLM's own class


def test_models_without_experts_and_types_that_can_have_them_apart_are_not_refused(
    model: Path, tiny: Path
) -> None:
    assert inseparable_experts(inspect(model)) == f"{EXPERT}.weight"
    assert inseparable_experts(inspect(tiny)) == ""
    inspection = inspect(model)
    inspection.config["model_type"] = "qwen3_moe"  # type: ignore[index]
    assert inseparable_experts(inspection) == ""


def test_plain_experts_beside_other_packed_matrices_are_combined_at_loading(tmp_path: Path) -> None:
    pack(small_model(tmp_path), ".o_proj.")
    with quiet_loading():
        report = report_on(tmp_path)
    assert not any(report.values()), report
