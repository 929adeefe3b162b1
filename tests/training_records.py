"""The record of a training that held out rows, with an invented adapter as its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters import make_adapter, make_run
from made_up import made_up
from tiny import write_chats, write_config

from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import write
from swiftbox.data.files import dataset_hash
from swiftbox.files import write_json
from swiftbox.plan import plan
from swiftbox.tasks.load import load
from swiftbox.tasks.training_check import sources_of


def recorded(tiny: Path, place: Path, name: str = "done", **keys: Any) -> Path:
    """Record a training whose result is an invented adapter."""
    data = keys.pop("data", None) or write_chats(place / "chat.jsonl", 14)
    folder = make_run(make_adapter(tiny, place / name / "model"), tiny)
    written = write_config(place / "asked.yaml", tiny, data, **keys)
    config = plan(load(written).config, made_up("cpu")).config
    assert isinstance(config, TrainConfig)
    (folder / "settled.yaml").write_text(write(config), "utf-8")
    write_json(folder / "inputs.json", {"dataset_sha256": dataset_hash(sources_of(config))})
    return folder
