"""The saved config of an adapter is the same for equal trainings."""

from __future__ import annotations

import json
from pathlib import Path

from peft import LoraConfig

from swiftbox.core.tuners.saved_config import sort_names

NAMES = ("q_proj", "down_proj", "k_proj", "up_proj", "v_proj", "gate_proj", "o_proj")


def test_names_that_peft_saves_in_any_order_are_sorted(tmp_path: Path) -> None:
    folders = (tmp_path / "a", tmp_path / "a" / "second", tmp_path / "b")
    for folder, names in zip(folders, (NAMES, NAMES[::-1], sorted(NAMES)), strict=True):
        config = LoraConfig(target_modules=list(names))
        config.target_modules = list(names)  # PEFT makes it a set, whose order is chance
        config.save_pretrained(str(folder))
    sort_names(tmp_path / "a")
    sorted_file = (tmp_path / "b" / "adapter_config.json").read_bytes()
    assert json.loads(sorted_file)["target_modules"] == sorted(NAMES)
    assert [(folder / "adapter_config.json").read_bytes() for folder in folders] == [
        sorted_file
    ] * 3
