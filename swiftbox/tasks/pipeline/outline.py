"""The plan of a pipeline before it starts: what each step does and needs, and the total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from swiftbox.config.groups import as_list
from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.references import references_in
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.forecast import (
    Forecast,
    PipelineForecast,
    RunInputs,
    StepForecast,
    pipeline_forecast,
)
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.fit.profile import ModelProfile, profile_model
from swiftbox.tasks.learned_memory import learned_limits
from swiftbox.tasks.pipeline.graph import task_of
from swiftbox.tasks.pipeline.skipping import chain_without

SUMMARY_KEYS = tuple("stage tuner_type method bits benchmarks model adapter dataset".split())
"""Keys that describe a step, if its task has them."""


def outline(
    config: PipelineConfig, machine: Machine, rows: Mapping[str, CheckedRows]
) -> PipelineForecast:
    """Forecast every step of a resolved pipeline; a model keeps its shape from step to step."""
    steps = [
        StepForecast(step.name, _summary(step.config), forecast)
        for step, _, forecast in _forecasts(config, machine, rows)
    ]
    return pipeline_forecast(steps, machine)


def models_of_steps(
    config: PipelineConfig, machine: Machine, rows: Mapping[str, CheckedRows]
) -> Mapping[str, ModelProfile | None]:
    """Return the model that each step works on, as far as it is known."""
    forecasts = _forecasts(config, machine, rows, skips_trainings=True)
    return {step.name: model for step, model, _ in forecasts}


def _forecasts(
    config: PipelineConfig,
    machine: Machine,
    rows: Mapping[str, CheckedRows],
    *,
    skips_trainings: bool = False,
) -> Iterator[tuple[PipelineStep, ModelProfile | None, Forecast | None]]:
    """Yield each step with its model and its forecast.

    Trainings can be skipped where only the models matter: their results have the shape of theirs.
    """
    shapes: dict[str, ModelProfile | None] = {}
    for step in chain_without(config, {}).config.steps:
        model = _model_of(step.config, shapes)
        forecast = None
        if not (skips_trainings and isinstance(step.config, TrainConfig)):
            before = RunInputs(model, rows.get(step.name), _learned(step.config, model, machine))
            forecast = task_of(step).forecast(step.config, machine, before)
        result = forecast.output if forecast is not None and forecast.output is not None else model
        shapes[step.name] = replace(result, local=True) if result is not None else None
        yield step, model, forecast


def _learned(config: TaskConfig, model: ModelProfile | None, machine: Machine) -> LearnedLimits:
    """Return what earlier runs of a step's training needed."""
    if model is None or not isinstance(config, TrainConfig):
        return NOTHING_LEARNED
    return learned_limits(config, model.shape, machine)


def _model_of(config: TaskConfig, shapes: Mapping[str, ModelProfile | None]) -> ModelProfile | None:
    """Return the shape of the model that a step works on, if it is known."""
    values = config.model_dump()
    for key in ("model", "adapter", "adapters"):
        for reference in references_in(values.get(key)):
            return shapes.get(reference.step)
    models = [str(model) for model in as_list(values.get("model") or [])]
    return profile_model(models[0]) if len(models) == 1 else None


def _summary(config: TaskConfig) -> str:
    values: dict[str, Any] = config.model_dump(mode="json")
    settings = [f"{key} {_short(values[key])}" for key in SUMMARY_KEYS if values.get(key)]
    return ", ".join([config.task, *settings])


def _short(value: Any) -> str:
    return " ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)
