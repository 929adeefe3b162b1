"""What tests with real engines share: the home that has the engines, and a model for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny import SIZES, train_tokenizer


@pytest.fixture(autouse=True)
def installed_engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tests with real engines use those of the home that SWIFTBOX_ENGINES names."""
    if not request.node.get_closest_marker("network"):
        return
    if home := os.environ.get("SWIFTBOX_ENGINES"):
        monkeypatch.setenv("SWIFTBOX_HOME", home)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose layers are wide enough for every method."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    sizes = {**SIZES, "num_key_value_heads": 4, "initializer_range": 0.02}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    Qwen3ForCausalLM(Qwen3Config(**sizes, **ends, head_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
