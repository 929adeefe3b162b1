"""Adapters with random weights, saved by peft, and the run folders that they would come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer


def make_adapter(model_folder: Path, folder: Path, *, seed: int = 1, **keys: Any) -> Path:
    """Save a LoRA adapter whose B is not zero, so that it changes the outputs of the model."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    return save_adapter(model, model_folder, folder, seed=seed, **keys)


def save_adapter(
    model: Any, model_folder: Path, folder: Path, *, seed: int = 1, **keys: Any
) -> Path:
    """Put a random adapter on a loaded model, and save it."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], **keys}
    network = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, value in network.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name or "modules_to_save.default" in name:
            value.data += 0.1 * torch.randn_like(value)
    for config in network.peft_config.values():
        config.base_model_name_or_path = str(model_folder)
    network.save_pretrained(folder)
    return folder


def make_run(adapter: Path, model_folder: Path, **settings: Any) -> Path:
    """Write the settings of the training that an adapter would come from; return its run folder."""
    import yaml

    common = {"version": 1, "task": "train", "stage": "sft", "hub": "local", "dataset": "d"}
    lora = {"model": str(model_folder), "tuner_type": "lora", "dtype": "float32"}
    values = {**common, **lora, **settings}
    (adapter.parent / "settled.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return adapter.parent


def qlora(**changed: Any) -> dict[str, Any]:
    """Return the settings of a training on NF4."""
    return {
        "tuner_type": "qlora",
        "quant_bits": 4,
        "quant_method": "bnb",
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        **changed,
    }


def token_ids(folder: Path, phrase: str = "The json module encodes and decodes") -> torch.Tensor:
    """Return the tokens of a phrase."""
    ids: torch.Tensor = AutoTokenizer.from_pretrained(folder)(phrase, return_tensors="pt").input_ids
    return ids


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits of every position, in float32."""
    return model.eval()(input_ids=ids, use_cache=False).logits.float()
