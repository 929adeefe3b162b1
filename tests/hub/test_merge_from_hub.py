"""An adapter and its base, both on a hub: fetched, then merged, the base found by the adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapters import make_adapter
from downloading import Desk
from fake_hub import Repository, hub

from swiftbox.config.presets import presets


def repository(name: str, folder: Path) -> Repository:
    return Repository(name, {layer.name: layer.read_bytes() for layer in folder.iterdir()})


@pytest.mark.slow
def test_an_adapter_on_a_hub_fetches_its_base(tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    output = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    output["base_model_name_or_path"] = "o/base"
    (adapter / "adapter_config.json").write_text(json.dumps(output), "utf-8")
    preset = str(presets()["merge"])
    with hub(repository("o/base", tiny), repository("o/adapter", adapter)) as server:
        desk = Desk(tmp_path, server.address)
        done = desk.box("run", preset, "adapter=o/adapter", f"output_dir={tmp_path / 'out'}")
        assert done.code == 0, done.err
        other = desk.box("run", preset, "adapter=o/adapter", "model=o/other", "output_dir=no")
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    inputs = json.loads((tmp_path / "out" / "inputs.json").read_text("utf-8"))
    assert inputs["revision"] is not None
    assert other.code != 0
    assert "trained on o/base, not on o/other" in other.err
