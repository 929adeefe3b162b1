"""A check refuses targets that name layers of a tower only, as the training would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import write_chats

from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config
from swiftbox.tasks.load import loads


def check(model: Path, folder: Path, targets: list[str]) -> None:
    data = write_chats(folder / "chat.jsonl", 3)
    settings = {"model": str(model), "dataset": str(data), "hub": "local"}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    overrides.append(f"target_modules={json.dumps(targets)}")
    check_config(loads("", source="x", overrides=overrides).config)


def test_a_layer_of_a_tower_needs_its_path(tiny_multimodal: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="linear_fc1 names only layers that read pictures") as error:
        check(tiny_multimodal, tmp_path, ["q_proj", "linear_fc1"])
    assert "model.visual." in error.value.hint
    check(tiny_multimodal, tmp_path, ["q_proj", "visual.merger.linear_fc1"])
