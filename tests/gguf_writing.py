"""Small GGUF files, written by the package gguf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.quants import quantize

Tensors = dict[str, tuple[tuple[int, ...], Type]]

TINY: Tensors = {
    "token_embd.weight": ((512, 64), Type.Q8_0),
    "blk.0.ffn_up.weight": ((128, 64), Type.Q8_0),
    "blk.0.attn_norm.weight": ((64,), Type.F32),
}
"""What a model of one layer becomes in eight bits."""


def write_gguf(path: Path, tensors: Tensors, **metadata: Any) -> Path:
    """Write tensors of zeros, and metadata of every kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_array("tokenizer.ggml.token_type", [1, 3])
    writer.add_uint32("llama.context_length", 2048)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    for key, value in metadata.items():
        name = key.replace("__", ".")
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(name, value)
    for name, (shape, kind) in tensors.items():
        data = quantize(np.zeros(shape, dtype=np.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
