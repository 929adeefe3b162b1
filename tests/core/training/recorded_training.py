"""A training in this process, and the events that it records."""

from __future__ import annotations

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


def of_kind(recorded: Recorded, kind: str) -> list[dict[str, Any]]:
    return [fields for event, fields in recorded if event == kind]


def notes(recorded: Recorded, key: str) -> list[str]:
    return [note["message"] for note in of_kind(recorded, "note") if note["key"] == key]
