"""What a checked config will work on, for its plan: model, rows, and earlier runs' memory."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import ModelProfile, profile_model
from swiftbox.fit.remote_rows import all_lengths, remote_rows
from swiftbox.fit.workload import UNKNOWN, Workload
from swiftbox.tasks.learned_memory import learned_limits
from swiftbox.tasks.task import CheckResult


def workload_of(config: TaskConfig, machine: Machine, checked: CheckResult) -> Workload:
    """Return what a settled config works on, as far as it is on this machine."""
    if isinstance(config, TrainConfig):
        rows = checked if isinstance(checked, CheckedRows) else None
        return _of_training(config, machine, profile_model(config.model), rows)
    if isinstance(config, PipelineConfig):
        return _of_pipeline(config, machine, checked if isinstance(checked, Mapping) else {})
    return UNKNOWN


def _of_training(
    config: TrainConfig, machine: Machine, model: ModelProfile | None, rows: CheckedRows | None
) -> Workload:
    lengths = all_lengths(remote_rows(config), rows.lengths if rows is not None else None)
    learned = UNKNOWN.learned if model is None else learned_limits(config, model.shape, machine)
    return Workload(model, lengths, learned)


def _of_pipeline(
    config: PipelineConfig, machine: Machine, rows: Mapping[str, CheckedRows]
) -> Workload:
    from swiftbox.tasks.pipeline.outline import models_of_steps

    models = models_of_steps(config, machine, rows)
    steps = {
        step.name: _of_training(step.config, machine, models[step.name], rows.get(step.name))
        for step in config.steps
        if isinstance(step.config, TrainConfig) and step.name in models
    }
    return Workload(steps=steps)
