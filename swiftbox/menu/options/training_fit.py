"""The richest usual training of a model that fits a machine, for lists of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.richest_tuner import richest_tuner

USUAL_TRAINING = ("model=owner/name", "dataset=rows.jsonl", "report_to=none")
"""A training with the default settings; the names stand for any model and dataset."""


def training_that_fits(machine: Machine) -> Callable[[ModelProfile | None], str | None]:
    """Return a function that names the richest tuner that fits for a model of a given shape."""
    from swiftbox.plan import plan
    from swiftbox.tasks.load import loads

    overrides = [*USUAL_TRAINING]
    if len(machine.devices) > 1:
        overrides.append("distributed=fsdp")
    settled: Any = plan(loads("", source="models", overrides=overrides).config, machine).config
    return richest_tuner(settled.model_copy(update={"gradient_checkpointing": "true"}), machine)
