"""Files that only loading finds broken are reported with the folder, not as a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from swiftbox.core.training.infinite_loss import infinite_loss
from swiftbox.core.weights.load import load_pretrained, read_tokenizer
from swiftbox.errors import ConfigError


def edited(tiny: Path, folder: Path, **changes: object) -> Path:
    """Copy a model with other values in config.json."""
    shutil.copytree(tiny, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    return folder


def test_weights_that_would_start_at_random_values_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = edited(tiny, tmp_path / "m", num_hidden_layers=3, layer_types=None)
    with pytest.raises(ConfigError, match=r"its files lack 11 of the model's weights") as caught:
        load_pretrained(folder)
    assert str(folder) in caught.value.message


def test_weights_of_other_shapes_are_refused_with_a_hint(tiny: Path, tmp_path: Path) -> None:
    folder = edited(tiny, tmp_path / "m", intermediate_size=96)
    with pytest.raises(ConfigError, match=r"other shapes than config\.json states") as caught:
        load_pretrained(folder)
    assert "download it again" in caught.value.hint


def test_a_tokenizer_with_an_unknown_part_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = edited(tiny, tmp_path / "m")
    path = folder / "tokenizer.json"
    content = {**json.loads(path.read_text("utf-8")), "pre_tokenizer": {"type": "Magic"}}
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        read_tokenizer(folder, trust_remote_code=False)


def test_weights_that_are_not_finite_are_named_before_the_learning_rate() -> None:
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    error = infinite_loss(model, float("nan"), steps=0, first_steps=0)
    assert "the weights weight were not finite before it" in error.message
    assert "damaged" in error.hint
    assert "learning_rate" not in error.hint


def test_after_an_update_the_learning_rate_is_the_likely_cause() -> None:
    error = infinite_loss(torch.nn.Linear(2, 2), float("inf"), steps=7, first_steps=0)
    assert error.hint.startswith("lower learning_rate")
