"""Frozen bases of 4 or 8 bits: QLoRA (arXiv:2305.14314), and models that are stored quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, BitsAndBytesConfig

from swiftbox.architectures.separate_experts import METHODS, SEPARABLE
from swiftbox.config.merge import Quantization
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text

SCORE_HEADS = ("score", "classifier")
"""Names of the head of transformers' sequence classifiers."""


def quantization_arguments(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Return the `from_pretrained` arguments that quantize the base; none if it is quantized.

    Raises ConfigError if the base is not quantized by the method that `quant_method` names.
    """
    if stored_method(folder) or config.tuner_type != "qlora":
        return {}
    if config.quant_method != "bnb":
        raise ConfigError(
            text(
                f"quant_method: {config.quant_method}, but the model is not quantized",
                f"quant_method：{config.quant_method}，但该模型未量化",
            ),
            hint=text(
                "set quant_method: bnb to quantize while loading, or use a quantized model",
                "设 quant_method: bnb 在加载时量化，或换用已量化的模型",
            ),
        )
    return {"quantization_config": bitsandbytes_config(config)}


def bitsandbytes_config(config: TrainConfig | Quantization) -> BitsAndBytesConfig:
    """Translate the quantization of a base for transformers."""
    if config.quant_bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=config.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=getattr(torch, config.dtype),
    )


def stored_method(folder: Path) -> str:
    """Return the quantization method that config.json names, such as gptq; empty without one."""
    stored = read_json(folder / "config.json").get("quantization_config") or {}
    return str(stored.get("quant_method", ""))


def separate_experts(folder: Path) -> None:
    """Give the class of a model separate experts if its files have them quantized one by one.

    This holds for all models of its type that the process loads later.
    """
    model_type = read_json(folder / "config.json").get("model_type")
    if stored_method(folder) in METHODS and model_type in SEPARABLE:
        import defuser  # comes with gptqmodel

        defuser.replace_fused_blocks(model_type)


def score_config(folder: Path, labels: int, *, trust_remote_code: bool) -> Any:
    """Return transformers' config of a model with a score head, which is never quantized.

    A stored base may list the layers that are not quantized; that list replaces transformers' own
    choice, and does not have the head.
    """
    config = AutoConfig.from_pretrained(
        str(folder), num_labels=labels, local_files_only=True, trust_remote_code=trust_remote_code
    )
    stored = getattr(config, "quantization_config", None)
    if isinstance(stored, dict) and stored.get("llm_int8_skip_modules"):
        stored["llm_int8_skip_modules"] = [*stored["llm_int8_skip_modules"], *SCORE_HEADS]
    return config


def is_quantized(model: Any) -> bool:
    """Return whether the model's weights are quantized."""
    return bool(getattr(model, "is_quantized", False))


def has_bitsandbytes(model: Any) -> bool:
    """Return whether the model's weights are quantized by bitsandbytes."""
    settings = getattr(model.config, "quantization_config", None)
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    method = method or getattr(settings, "quant_method", "")
    return is_quantized(model) and str(getattr(method, "value", method)) == "bitsandbytes"


def use_exact_kernels(model: Any, dtype: torch.dtype | None) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for avx512_bf16; see `load`.

    With a `dtype` the layers compute in it: a model stored in 4 bits names the dtype of whoever
    quantized it, which transformers does not let the caller change. Both attributes are read at
    each forward pass, so this works at any time before the first one.
    """
    if not has_bitsandbytes(model):
        return  # it is slow to import, and engines do not have it
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
            if dtype is not None:
                module.compute_dtype, module.compute_type_is_set = dtype, True
