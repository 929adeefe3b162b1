"""Tiny random models, one for each kind of attention that the tests tell apart."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tiny import SIZES

WINDOW = 8

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "qwen3 windows": (
        "Qwen3",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "gemma2": ("Gemma2", {"head_dim": 16, "sliding_window": WINDOW}),
    "gpt_oss": ("GptOss", {"head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1}),
    "qwen3_moe": (
        "Qwen3Moe",
        {
            "head_dim": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 48,
        },
    ),
    "qwen3_next": (
        "Qwen3Next",
        {
            "head_dim": 16,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
}


def tiny_model(kind: str, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    """Make a model of a kind; its attention is the one that transformers chooses."""
    name, more = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **more, **settings)
    return getattr(transformers, f"{name}ForCausalLM")(config).to(dtype)
