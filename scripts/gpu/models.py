"""Models of real shapes, made at random on the device and written once for all parts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu.settings import Settings
from gpu.timing import free_memory

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

Shape = Mapping[str, Any]


def _shape(hidden: int, intermediate: int, layers: int, heads: int, tied: bool) -> Shape:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "tie_word_embeddings": tied,
    }


SHAPES: Mapping[str, Shape] = {
    "0.6B": _shape(1024, 3072, 28, 16, True),
    "1.7B": _shape(2048, 6144, 28, 16, True),
    "4B": _shape(2560, 9728, 36, 32, True),
    "8B": _shape(4096, 12_288, 36, 32, False),
}
"""The dimensions of Qwen3, from the config.json of each size."""

TINY: Shape = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 640,
    "tie_word_embeddings": True,
}


def shape_of(size: str, settings: Settings) -> Shape:
    """Return the dimensions of a size."""
    return TINY if settings.tiny else SHAPES[size]


def random_model(size: str, settings: Settings) -> Any:
    """Return a random model on the device."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    config = Qwen3Config(**shape_of(size, settings), max_position_embeddings=40_960)
    number_type = getattr(torch, settings.dtype)
    with torch.device(settings.device):
        model = AutoModelForCausalLM.from_config(
            config, dtype=number_type, attn_implementation="sdpa"
        )
    model.config.use_cache = False
    return model


def model_folder(size: str, settings: Settings) -> Path:
    """Return the folder of a random model with a tokenizer; write it if it is not there."""
    folder = settings.folder / f"model-{size}"
    finished = folder / "written.json"
    if finished.is_file():
        return folder
    import tiny

    began = time.perf_counter()
    model = random_model(size, settings)
    tokenizer = tiny.train_tokenizer()
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.use_cache = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    free_memory(settings.device)
    finished.write_text(json.dumps({"seconds": time.perf_counter() - began}), "utf-8")
    return folder


def linear_weights(shape: Shape) -> int:
    """Return the weights of the linear layers of all blocks, without embeddings and head."""
    hidden, head = int(shape["hidden_size"]), int(shape["head_dim"])
    query = head * int(shape["num_attention_heads"])
    key = head * int(shape["num_key_value_heads"])
    block = 2 * hidden * query + 2 * hidden * key + 3 * hidden * int(shape["intermediate_size"])
    return block * int(shape["num_hidden_layers"])


def training_flop(shape: Shape, tuner: str, lengths: Sequence[int], learned: int) -> float:
    """Return the FLOP of training on rows of these lengths, `learned` of their tokens learned.

    A frozen weight costs 2 forward and 2 backward per token, a trained one 2 more for its gradient
    (arXiv:2001.08361). Causal attention computes half of T x T. Recomputation does not count.
    """
    passes = 3 if tuner == "full" else 2
    width = int(shape["head_dim"]) * int(shape["num_attention_heads"])
    attention = sum(2 * length**2 for length in lengths) * width * int(shape["num_hidden_layers"])
    head = int(shape["vocab_size"]) * int(shape["hidden_size"])
    return 2.0 * passes * (linear_weights(shape) * sum(lengths) + head * learned) + 3.0 * attention
