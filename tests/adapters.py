"""Adapters made on the spot: peft's own, with weights that are not zero, and their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer


def make_adapter(base: Path, folder: Path, *, seed: int = 1, **keys: Any) -> Path:
    """Save a LoRA adapter whose B is not zero, so that it changes what the model says."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return save_adapter(model, base, folder, seed=seed, **keys)


def save_adapter(model: Any, base: Path, folder: Path, *, seed: int = 1, **keys: Any) -> Path:
    """Put a random adapter on a loaded model, and save it."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], **keys}
    network = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, value in network.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name or "modules_to_save.default" in name:
            value.data += 0.1 * torch.randn_like(value)
    for own in network.peft_config.values():
        own.base_model_name_or_path = str(base)
    network.save_pretrained(folder)
    return folder


def make_run(adapter: Path, base: Path, **settled: Any) -> Path:
    """Write beside a model/ folder what the run that made it would have recorded."""
    import yaml

    said = {"version": 1, "task": "train", "stage": "sft", "model": str(base), "hub": "local"}
    values = {**said, "dataset": "d", "tuner_type": "lora", "dtype": "float32", **settled}
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


def token_ids(folder: Path, words: str = "The json module encodes and decodes") -> torch.Tensor:
    """Return the tokens of some words."""
    found: torch.Tensor = AutoTokenizer.from_pretrained(folder)(
        words, return_tensors="pt"
    ).input_ids
    return found


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return what a model says of every token, in float32."""
    return model.eval()(input_ids=ids, use_cache=False).logits.float()
