"""Check settings whose task is missing or misspelt as far as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swiftbox.config.checking import check_without_class
from swiftbox.config.mistakes import not_a_choice
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry
from swiftbox.config.task import TaskConfig
from swiftbox.formatting import nearest
from swiftbox.tasks import TASKS


def unknown_task(entry: YamlEntry, known: Sequence[str]) -> ConfigProblem:
    """Describe a task that does not exist."""
    return ConfigProblem(entry.where, "task", not_a_choice(entry.value, known), entry.order)


def check_without_task(settings: Settings, known: Sequence[str]) -> None:
    """Check every key against the tasks that have it, the one that was probably meant first.

    The settings get the name of that task where its spelling is near.
    """
    entry = settings.entries.pop("task", None)
    meant = "" if entry is None else nearest(str(entry.value), known, cutoff=0.5)
    models = {name: model for task in known for name, model in _classes(task)}
    keys = settings.entries.keys()

    def likelihood(name: str) -> tuple[bool, int]:
        return name.partition(":")[0] == meant, len(keys & models[name].model_fields.keys())

    ordered = sorted(models, key=likelihood, reverse=True)
    check_without_class([models[name] for name in ordered], settings)
    if entry is not None and meant:
        settings.entries["task"] = replace(entry, value=meant, plain=meant)


def _classes(task: str) -> list[tuple[str, type[TaskConfig]]]:
    return [(f"{task}:{name}", model) for name, model in TASKS[task].config_classes.items()]
