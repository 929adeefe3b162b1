"""Folders with the weights of a large model whose files have holes in place of numbers.

A file of holes takes no room on the disk. Its tensors are read as zeros.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

SHARD_BYTES = 4_000_000_000
"""As models are published."""


def qwen_72b(layers: int = 80) -> Qwen2Config:
    """Return the dimensions of Qwen2.5-72B, with fewer layers if asked."""
    return Qwen2Config(
        hidden_size=8192,
        intermediate_size=29568,
        num_hidden_layers=layers,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=152064,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["Qwen2ForCausalLM"],
    )


def write_hollow_model(folder: Path, config: Qwen2Config) -> dict[str, int]:
    """Write config.json and bfloat16 safetensors; return the bytes of each weight."""
    with torch.device("meta"):
        weights = Qwen2ForCausalLM(config).state_dict()
    sizes = {name: 2 * weight.numel() for name, weight in weights.items()}
    shards: list[dict[str, Any]] = [{}]
    end = 0
    for name, size in sizes.items():
        if end and end + size > SHARD_BYTES:
            shards.append({})
            end = 0
        offsets = [end, end + size]
        shape = list(weights[name].shape)
        shards[-1][name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        end += size
    places = {}
    for number, header in enumerate(shards):
        file = folder / f"model-{number}.safetensors"
        _write_hollow_file(file, header)
        places |= dict.fromkeys(header, file.name)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)
    return sizes


def _write_hollow_file(path: Path, header: dict[str, Any]) -> None:
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)
    end = max(entry["data_offsets"][1] for entry in header.values())
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + end)
