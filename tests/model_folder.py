"""A model's folder as it arrives from a hub, written by hand: no torch, a few bytes of weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from tiny import TEMPLATE

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
"""Said in full: where they are missing a child builds the model to know them, in seconds."""


TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
"""The smallest vocabulary."""

BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1}


def write_safetensors(
    path: Path, tensors: Mapping[str, int | tuple[int, ...]], dtype: str = "BF16"
) -> None:
    """Write a file of named tensors, each of so many bytes or of a shape.

    They are zeros that take no room.
    """
    header, at = {}, 0
    for name, size in tensors.items():
        shape = (size // BYTES[dtype],) if isinstance(size, int) else size
        end = at + math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    content = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + at)


def qwen3_tensors(**sizes: int) -> dict[str, int | tuple[int, ...]]:
    """Return the shapes of a model's weights, of SIZES unless they are given."""
    size = {**SIZES, **sizes}
    hidden, inner = size["hidden_size"], size["intermediate_size"]
    width = hidden // size["num_attention_heads"]
    keys = width * size["num_key_value_heads"]
    layer: dict[str, int | tuple[int, ...]] = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "self_attn.q_norm": (width,),
        "self_attn.k_norm": (width,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    return {
        "model.embed_tokens.weight": (size["vocab_size"], hidden),
        **{
            f"model.layers.{number}.{name}.weight": shape
            for number in range(size["num_hidden_layers"])
            for name, shape in layer.items()
        },
        "model.norm.weight": (hidden,),
        "lm_head.weight": (size["vocab_size"], hidden),
    }


def write_model(folder: Path, **config: object) -> Path:
    """Write a sound folder of one weight file, a tokenizer and a chat template."""
    folder.mkdir(parents=True)
    content = {"model_type": "qwen3", **SIZES, "head_dim": 16, **config}
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER), "utf-8")
    (folder / "tokenizer_config.json").write_text("{}", "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    write_safetensors(folder / "model.safetensors", qwen3_tensors())
    return folder


ADAPTER = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}
"""The settings of a sound adapter."""


def adapter_tensors(
    *, rank: int = 4, layers: int = 2, outputs: int = 64
) -> dict[str, int | tuple[int, ...]]:
    """Return the shapes of a LoRA on the queries and values of the model that SIZES describes."""
    tensors: dict[str, int | tuple[int, ...]] = {}
    for number in range(layers):
        for module, width in (("q_proj", outputs), ("v_proj", 32)):
            prefix = f"base_model.model.model.layers.{number}.self_attn.{module}"
            tensors[f"{prefix}.lora_A.weight"] = (rank, 64)
            tensors[f"{prefix}.lora_B.weight"] = (width, rank)
    return tensors


def write_adapter(
    folder: Path,
    tensors: Mapping[str, int | tuple[int, ...]] | None = None,
    dtype: str = "F32",
    **config: object,
) -> Path:
    """Write an adapter of the model that `write_model` writes; `config` replaces its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**ADAPTER, **config})
    (folder / "adapter_config.json").write_text(content, encoding="utf-8")
    stored = adapter_tensors() if tensors is None else tensors
    write_safetensors(folder / "adapter_model.safetensors", stored, dtype)
    return folder
