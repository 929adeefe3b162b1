"""Tiny folders of model families: one dense, tied, with a tower, with experts, and so on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny import SIZES

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
TOWER |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
SECTIONS = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}
QWEN2_TOWER = {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 8}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}

FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gemma2": ("Gemma2ForCausalLM", {**SIZES, "head_dim": 16}),
    "tied llama": ("LlamaForCausalLM", {**SIZES, "tie_word_embeddings": True}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {**SIZES, **EXPERTS, "head_dim": 16}),
    "qwen2_vl": (
        "Qwen2VLForConditionalGeneration",
        {"text_config": {**SIZES, **SECTIONS}, "vision_config": QWEN2_TOWER},
    ),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": {**SIZES, "head_dim": 16},
            "vision_config": TOWER,
            "mm_tokens_per_image": 4,
        },
    ),
}
"""The class of each family and the keys of its config.json."""


def build_family(name: str, folder: Path) -> Path:
    """Save a model of random weights without a tokenizer; return the folder."""
    import transformers

    class_name, keys = FAMILIES[name]
    model_class = getattr(transformers, class_name)
    model_class(model_class.config_class(**keys)).save_pretrained(folder)
    return folder
