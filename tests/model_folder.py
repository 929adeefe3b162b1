"""A model's folder as it arrives from a hub, written by hand: no torch, a few bytes of weights."""

from __future__ import annotations

import json
from pathlib import Path

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
"""Said in full: where they are missing a child builds the model to know them, in seconds."""


def write_safetensors(path: Path, tensors: dict[str, int], dtype: str = "BF16") -> None:
    """Write a file of named tensors, each of so many bytes; they are zeros that take no room."""
    header, at = {}, 0
    for name, size in tensors.items():
        header[name] = {"dtype": dtype, "shape": [size // 2], "data_offsets": [at, at + size]}
        at += size
    content = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + at)


def write_model(folder: Path, **config: object) -> Path:
    """Write a sound folder of one weight file, a tokenizer and a chat template."""
    folder.mkdir(parents=True)
    content = {"model_type": "qwen3", **SIZES, **config}
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    (folder / "tokenizer_config.json").write_text("{}", "utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    write_safetensors(folder / "model.safetensors", {"a": 64, "b": 32})
    return folder
