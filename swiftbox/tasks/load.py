"""Load a YAML file as a typed config, or report all of its mistakes at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.config.checking import build, check_without_class
from swiftbox.config.mistakes import not_a_choice
from swiftbox.config.reading import ConfigProblem, Settings, read_file, read_text
from swiftbox.config.task import TaskConfig
from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.formatting import nearest
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.pipeline.steps import PIPELINE, settle_steps
from swiftbox.tasks.task import Task
from swiftbox.tasks.unknown_task import check_without_task, unknown_task


@dataclass(frozen=True)
class Loaded:
    """A config, the notes made while reading it, and the keys that the file sets."""

    config: TaskConfig
    notes: tuple[str, ...]
    keys: frozenset[str]
    typed: frozenset[str] = field(default=frozenset(), compare=False)
    """The keys that the user gave beside the file, as `key=value`."""


def require_training(config: TaskConfig) -> TrainConfig:
    """Return the config as one of a training; raise ConfigError for another task."""
    if isinstance(config, TrainConfig):
        return config
    raise ConfigError(
        text(f"task: {config.task} is not a training", f"task: {config.task} 不是训练"),
        hint=text("run it with `swiftbox run FILE`", "可用 `swiftbox run FILE` 执行"),
    )


def load(path: Path, overrides: Iterable[str] = ()) -> Loaded:
    """Read a YAML file; raise ConfigError with every mistake of the file."""
    overrides = tuple(overrides)
    loaded = load_settings(read_file(path, overrides))
    return replace(loaded, typed=_keys_of(overrides))


def loads(content: str, *, source: str, overrides: Iterable[str] = ()) -> Loaded:
    """Read YAML text; `source` names it in messages."""
    overrides = tuple(overrides)
    loaded = load_settings(read_text(content, source=source, overrides=overrides))
    return replace(loaded, typed=_keys_of(overrides))


def _keys_of(overrides: Iterable[str]) -> frozenset[str]:
    return frozenset(override.partition("=")[0] for override in overrides)


def load_settings(settings: Settings) -> Loaded:
    """Build the config that the settings describe; raise ConfigError with every mistake."""
    config = _build(settings)
    settings.fail()
    if config is None:  # fail() raised unless a mistake went unrecorded
        raise ConfigError(settings.source, hint=text("check the file again", "请重新检查该文件"))
    return Loaded(
        config, tuple(settings.notes), frozenset({*settings.entries, *settings.block_keys})
    )


def _build(settings: Settings) -> TaskConfig | None:
    """Build the config; on mistakes, add them to the settings and return None."""
    entry = settings.entries.get("task")
    if entry is not None and str(entry.value) not in TASKS:
        settings.problems.append(unknown_task(entry, list(TASKS)))
        settle_steps(settings, _build)
        check_without_task(settings, list(TASKS))
        return None
    task = TASKS["train"] if entry is None else TASKS[str(entry.value)]
    if task.name == "train":
        _follow_loss(settings)
    if task.name == PIPELINE:
        settle_steps(settings, _build)
    model = _class(task, settings)
    if model is None:
        _leave_to_other_tasks(task, settings)
        _check_without_class(task, settings)
        return None
    elsewhere: Mapping[str, str] = {}
    # Finding the owner of an unknown key imports all tasks: only do so if there is one.
    if not model.model_fields.keys() >= settings.entries.keys():
        _leave_to_other_tasks(task, settings)
        elsewhere = _elsewhere(task, model)
    return build(model, settings, elsewhere)


LOSSES_WITH_STAGE = ("orpo", "simpo", "cpo")
"""Losses that other tools call a `loss_type` of DPO, and that are separate stages here."""

STAGES_WITH_FOREIGN_LOSSES = ("dpo", "cpo")
"""Stages that other tools write beside such a `loss_type`."""

DPO_KEYS = ("reference_free", "precompute_ref_log_probs", "rpo_alpha", "loss_weights")
"""Keys of DPO that those stages do not have."""


def _follow_loss(settings: Settings) -> None:
    """Read `stage: dpo` with `loss_type: orpo` as `stage: orpo`, and add a note."""
    stage, loss = settings.entries.get("stage"), settings.entries.get("loss_type")
    if stage is None or loss is None or loss.value not in LOSSES_WITH_STAGE:
        return
    if stage.value not in (*STAGES_WITH_FOREIGN_LOSSES, loss.value):
        return
    del settings.entries["loss_type"]
    settings.entries["stage"] = replace(stage, value=loss.value, plain=str(loss.value))
    unused_keys = [key for key in DPO_KEYS if settings.entries.pop(key, None)]
    unused = text(
        f"; {', '.join(unused_keys)} not used: it has no reference",
        f"；未使用 {', '.join(unused_keys)}：该方法没有参考模型",
    )
    settings.notes.append(
        text(
            f"{loss.where} loss_type: {loss.value} is a separate method, stage: {loss.value}",
            f"{loss.where} loss_type: {loss.value} 是独立的方法：按 stage: {loss.value} 处理",
        )
        + (unused if unused_keys else "")
    )


def _class(task: Task[Any], settings: Settings) -> type[TaskConfig] | None:
    """Return the config class that the discriminator picks; None if its value is invalid."""
    entry = settings.entries.get(task.discriminator)
    if entry is None:
        return task.config_classes[task.default]
    return task.config_classes.get(str(entry.value))


def _check_without_class(task: Task[Any], settings: Settings) -> None:
    """Report the invalid discriminator, and the mistakes that hold for every class."""
    entry = settings.entries.pop(task.discriminator)
    message = not_a_choice(entry.value, list(task.config_classes))
    settings.problems.append(ConfigProblem(entry.where, task.discriminator, message, entry.order))
    likely = nearest(str(entry.value), task.config_classes, cutoff=0.5) or task.default
    others = [model for name, model in task.config_classes.items() if name != likely]
    check_without_class([task.config_classes[likely], *others], settings)


def _keys(task: Task[Any]) -> set[str]:
    return {name for model in task.config_classes.values() for name in model.model_fields}


def _leave_to_other_tasks(task: Task[Any], settings: Settings) -> None:
    """Drop the keys that only other tasks have, with a note: several tasks may share a file."""
    known = _keys(task)
    for key in [key for key in settings.entries if key not in known]:
        owners = [name for name, other in TASKS.items() if key in _keys(other)]
        if not owners:
            continue
        where = settings.entries.pop(key).where
        tasks = ", ".join(f"task: {name}" for name in owners)
        settings.notes.append(
            text(
                f"{where} {key} is not used: it belongs to {tasks}",
                f"{where} {key} 未使用：属于 {tasks}",
            )
        )


def _elsewhere(task: Task[Any], model: type[TaskConfig]) -> Mapping[str, str]:
    """Map the keys that this stage lacks to the stages that have them."""
    fields = model.model_fields
    owners: dict[str, list[str]] = {}
    for name, other in task.config_classes.items():
        for key in other.model_fields:
            if key not in fields:
                owners.setdefault(key, []).append(f"{task.discriminator}: {name}")
    return {key: ", ".join(names) for key, names in owners.items()}
