"""The random model that benchmarks on a CPU share."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make_model(folder: Path) -> Path:
    """Save a random Qwen3-shaped model of 46 million parameters and a tokenizer."""
    sys.path.insert(0, str(ROOT / "tests"))  # also when a side of a benchmark runs as a program
    import tiny
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tiny.train_tokenizer().save_pretrained(folder)
    return folder
