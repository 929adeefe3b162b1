"""How the steps of a pipeline depend on each other: each uses outputs of earlier ones."""

from __future__ import annotations

from typing import Any

from swiftbox.config.pipeline import PipelineConfig, PipelineStep
from swiftbox.config.references import references_in
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.task import Task


def with_step_name(name: str, message: str) -> str:
    """Return a message with the name of the step that it is about."""
    return text(f"{name}: {message}", f"{name}：{message}")


def task_of(step: PipelineStep) -> Task[Any]:
    """Return the task of a step."""
    return TASKS[step.config.task]


def dependencies(step: PipelineStep) -> list[str]:
    """Return the names of the steps whose outputs a step uses."""
    values = step.config.model_dump(mode="json")
    return list(dict.fromkeys(reference.step for reference in references_in(values)))


def ancestors(config: PipelineConfig, step: PipelineStep) -> list[PipelineStep]:
    """Return the steps whose outputs a step uses, directly or through other steps, in order."""
    names: set[str] = set()
    waiting = dependencies(step)
    by_name = {earlier.name: earlier for earlier in config.steps}
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in names:
            names.add(name)
            waiting += dependencies(by_name[name])
    return [earlier for earlier in config.steps if earlier.name in names]


def users_of(config: PipelineConfig, name: str) -> list[str]:
    """Return the names of the steps that use outputs of a step."""
    return [step.name for step in config.steps if name in dependencies(step)]
