"""Frozen bases of 4 or 8 bits (QLoRA, arXiv:2305.14314), and bases that come quantized."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from peft import prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig

from swiftbox.config.merge import Quantization
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text


def quantization(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Return what from_pretrained needs to quantize the base; nothing where it is quantized.

    Raises ConfigError when the base is not what `quant_method` says.
    """
    own = quantized_by(folder)
    if own or config.tuner_type != "qlora":
        return {}
    if config.quant_method != "bnb":
        raise ConfigError(
            text(
                f"quant_method: {config.quant_method}, but config.json says of no quantization",
                f"quant_method：{config.quant_method}，但 config.json 中没有量化信息",
            ),
            hint=text(
                "set quant_method: bnb to quantize while loading, or take a quantized model",
                "设 quant_method: bnb 在加载时量化，或换用已量化的模型",
            ),
        )
    return {"quantization_config": bitsandbytes_config(config)}


def bitsandbytes_config(config: TrainConfig | Quantization) -> BitsAndBytesConfig:
    """Translate how a base is quantized, for transformers."""
    if config.quant_bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=config.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=getattr(torch, config.dtype),
    )


def quantized_by(folder: Path) -> str:
    """Return the method that config.json names, such as gptq; empty for plain weights."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = said.get("quantization_config") or {}
    return str(found.get("quant_method", ""))


def is_quantized(model: Any) -> bool:
    """Tell whether the model's weights are quantized."""
    return bool(getattr(model, "is_quantized", False))


def make_trainable(model: Any) -> None:
    """Ready a quantized base for an adapter: frozen, norms and embeddings in float32.

    On processors with avx512_bf16 a forward pass without gradients packs the 4-bit weights anew,
    in place; training after it has no gradients. The packing is switched off.
    """
    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
