"""The random models that benchmarks on a CPU share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SHAPES: Mapping[str, tuple[int, int, int, int]] = {
    "3M": (4_000, 192, 4, 512),
    "5M": (8_000, 192, 6, 512),
    "15M": (16_000, 384, 6, 960),
    "46M": (32_000, 512, 8, 1536),
}
"""Vocabulary, hidden size, layers and width of the MLP by the number of parameters."""


def make_model(folder: Path) -> Path:
    """Save a random Qwen3-shaped model of 46 million parameters and a tokenizer."""
    return make_model_of("46M", folder)


def make_model_of(size: str, folder: Path) -> Path:
    """Save a random Qwen3-shaped model of one of SHAPES and a tokenizer."""
    sys.path.insert(0, str(ROOT / "tests"))  # also when a side of a benchmark runs as a program
    import tiny
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    vocabulary, hidden, layers, intermediate = SHAPES[size]
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64 // 2 or 1,
        head_dim=64,
        tie_word_embeddings=True,
    )
    if not folder.exists():
        Qwen3ForCausalLM(config).save_pretrained(folder)
        tiny.train_tokenizer().save_pretrained(folder)
    return folder
