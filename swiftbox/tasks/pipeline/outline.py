"""The plan of a pipeline before it starts: what each step does and takes, and the sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.references import references_in
from swiftbox.config.task import TaskConfig
from swiftbox.data.check import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.forecast import Before, StepForecast, Whole, whole
from swiftbox.fit.source import Found, find_shape
from swiftbox.tasks.pipeline.task import task_of

TOLD = ("stage", "tuner_type", "method", "bits", "benchmarks", "model", "adapter", "dataset")
"""Keys that say what a step does, where its task has them."""


def outline(config: PipelineConfig, machine: Machine, rows: Mapping[str, CheckedRows]) -> Whole:
    """Forecast every step of a settled pipeline; a model keeps its shape from step to step."""
    shapes: dict[str, Found | None] = {}
    steps = []
    for step in config.steps:
        model = _model_of(step.config, shapes)
        takes = task_of(step).forecast(step.config, machine, Before(model, rows.get(step.name)))
        made = takes.makes if takes is not None and takes.makes is not None else model
        shapes[step.name] = replace(made, local=True) if made is not None else None
        steps.append(StepForecast(step.name, _told(step.config), takes))
    return whole(steps, machine)


def _model_of(config: TaskConfig, shapes: Mapping[str, Found | None]) -> Found | None:
    """Return the shape of the model that a step works on, as far as it is known."""
    values = config.model_dump()
    for key in ("model", "adapter", "adapters"):
        for one in references_in(values.get(key)):
            return shapes.get(one.step)
    model = values.get("model")
    named = [str(one) for one in as_list(model or [])]
    return find_shape(named[0]) if len(named) == 1 else None


def _told(config: TaskConfig) -> str:
    values: dict[str, Any] = config.model_dump(mode="json")
    said = [f"{key} {_short(values[key])}" for key in TOLD if values.get(key)]
    return ", ".join([config.task, *said])


def _short(value: Any) -> str:
    return " ".join(str(one) for one in value) if isinstance(value, list) else str(value)
