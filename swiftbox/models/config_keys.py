"""The names under which config.json files state the dimensions of a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_DIMENSION = 2**31 - 1
"""No dimension of a model is larger: tensors are indexed by int32 in many kernels."""

NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
"""The keys under which multimodal configs describe their language model."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "hidden_dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "multi_query_group_num", "num_kv_heads"),
    "intermediate": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "head_dim": ("head_dim", "kv_channels"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "active_experts": ("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
    "expert_width": ("moe_intermediate_size",),
    "shared_width": ("shared_expert_intermediate_size",),
    "dense_layers": ("first_k_dense_replace", "num_dense_layers"),
    "context": ("max_position_embeddings", "seq_length", "n_positions"),
}
"""The keys of the dimensions in config.json, the most common one first."""


def language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that describes the language model."""
    part = config
    for _level in range(2):  # an omni model nests its language model twice
        part = next((part[name] for name in NESTED if isinstance(part.get(name), dict)), part)
    return part


def dimension(config: Mapping[str, Any], name: str) -> int | None:
    """Return a positive dimension by its name here; None if it is absent or something else.

    Of a list with a value per layer it is the first.
    """
    for key in NAMES[name]:
        value = config.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_DIMENSION:
            return value
    return None
