"""A training in this process, and the events that it records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from made_up import made_up

from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

Recorded = list[tuple[str, dict[str, Any]]]


def train_config(path: Path, folder: Path) -> tuple[Path, Recorded]:
    """Train what a YAML says in an existing folder; return the model and the events."""
    recorded: Recorded = []
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    saved = TASKS["train"].run(
        plan(load(path).config, made_up("cpu")).config,
        folder,
        lambda event, **fields: recorded.append((event, fields)),
    )
    assert saved == folder / "model"
    return saved, recorded


def require_same_after_resume(saved: Path, *, last: int, earlier: int) -> Recorded:
    """Remove a model and its last checkpoint, train on from an earlier one, and compare.

    Returns the events of the resumed training.
    """
    folder = saved.parent
    expected = {path.name: path.read_bytes() for path in saved.glob("*.safetensors")}
    assert expected
    shutil.rmtree(saved)
    shutil.rmtree(folder / "checkpoints" / f"checkpoint-{last}")
    resumed, recorded = train_config(folder / "a.yaml", folder)
    assert of_kind(recorded, "start")[0]["resumed_from"] == earlier
    assert {path.name: path.read_bytes() for path in resumed.glob("*.safetensors")} == expected
    return recorded


def of_kind(recorded: Recorded, kind: str) -> list[dict[str, Any]]:
    return [fields for event, fields in recorded if event == kind]


def notes(recorded: Recorded, key: str) -> list[str]:
    return [note["message"] for note in of_kind(recorded, "note") if note["key"] == key]
