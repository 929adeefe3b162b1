"""Trainings of a tiny model in this process, on the device of this machine."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from attention_in_use import counted_attention
from tiny import write_chats, write_config, write_labels, write_pairs

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.choices import lacks
from swiftbox.devices.machine import Machine
from swiftbox.plan import plan
from swiftbox.runs import events
from swiftbox.runs.stop import STOP
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

WRITERS = {"dpo": write_pairs, "kto": write_labels, "reward": write_pairs}


@dataclass(frozen=True)
class Trained:
    """A finished training: its folder and what it emitted."""

    folder: Path
    config: Any
    recorded: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """How often layers have asked for each attention since the last stage began."""
    attention: Counter[str] = field(default_factory=Counter)
    """The calls of all steps: without the probes before them and the answers after them."""

    def emit(self, event: str, **fields: Any) -> None:
        """Record an event; each stage counts its own calls."""
        self.recorded.append((event, fields))
        if event == events.STAGE:
            if fields["name"] == "save":
                self.attention.update(self.calls)
            self.calls.clear()

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the fields of the events of one kind."""
        return [fields for event, fields in self.recorded if event == kind]

    @property
    def losses(self) -> list[float]:
        """Return the loss of each step."""
        return [step["loss"] for step in self.of_kind("step")]

    def require_note(self, key: str, part: str) -> None:
        """Fail unless nothing was replaced with a warning and the note of a setting has a part."""
        assert self.of_kind(events.WARNING) == []
        notes = [note["message"] for note in self.of_kind(events.NOTE) if note["key"] == key]
        assert any(part in note for note in notes), notes

    def require_finite_and_falling(self) -> None:
        """Fail unless every loss is a number and the last is below the first."""
        assert all(math.isfinite(loss) for loss in self.losses), self.losses
        assert self.losses[-1] < self.losses[0], self.losses


class OnDevice:
    """Starts trainings on the device."""

    def __init__(self, machine: Machine, model: Path, folder: Path) -> None:
        self.machine = machine
        self.model = model
        self.folder = folder

    @property
    def torch_device(self) -> str:
        """Return the device in torch."""
        return BACKENDS[self.machine.backend].torch_device if self.machine.devices else "cpu"

    def require(self, capability: str) -> None:
        """Skip a test whose capability this machine lacks, with the reason of its row."""
        if reason := lacks(self.machine, capability):
            pytest.skip(f"{capability}: {reason}")
        package = BACKENDS[self.machine.backend].cell(capability).package
        if package and package not in self.machine.versions:
            pytest.skip(f"{capability}: {package} is not installed")

    def train(self, name: str = "run", stage: str = "sft", **keys: Any) -> Trained:
        """Train on forty rows; 6 steps of 4 rows, at a rate at which a tiny model learns."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        data = keys.pop("dataset", None)
        data = data or WRITERS.get(stage, write_chats)(self.folder / f"{stage}.jsonl", 40)
        rate = 2e-3 if keys.get("tuner_type") == "full" else 1e-2
        values = {
            "stage": stage,
            "max_steps": 6,
            "save_steps": 0,
            "per_device_train_batch_size": 4,
            "learning_rate": rate,
            "warmup_steps": 0,
            "num_train_epochs": 1,
            "dtype": "auto",
            "num_devices": 1,
            **keys,
        }
        path = write_config(folder / "a.yaml", self.model, data, **values)
        planned = plan(load(path).config, self.machine)
        (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
        trained = Trained(folder, planned.config)
        STOP.requested.clear()
        STOP.can_save.clear()
        with counted_attention(trained.calls):
            TASKS["train"].run(planned.config, folder, trained.emit)
        return trained
