"""A YAML that is being edited: its class, the values so far, and the file it was read from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftbox.config.presets import presets
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import scalar, write
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu.field_question import Values
from swiftbox.menu.options.option import MachineSource, unknown_machine
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, load, loads
from swiftbox.tasks.task import Task


@dataclass(frozen=True)
class Draft:
    """The values of a config so far; they may differ from the file it was read from."""

    config_class: type[TaskConfig]
    values: Values
    file: Path | None = None
    read: Values = field(default_factory=dict, compare=False)
    """The values as a file gave them; what differs is the user's own answer."""
    machine: MachineSource = field(default=unknown_machine, compare=False)
    """Returns this machine once it is probed, to show what fits."""

    @property
    def task(self) -> Task[Any]:
        """Return the task of the config."""
        return TASKS[str(self.config_class.model_fields["task"].default)]

    def loaded(self) -> Loaded:
        """Return the typed config; raise ConfigError with all of its mistakes."""
        discriminator = self.task.discriminator
        values = {
            "task": self.task.name,
            discriminator: self.config_class.model_fields[discriminator].default,
            **self.values,
        }
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        loaded = loads("", source="menu", overrides=overrides)
        return replace(loaded, typed=frozenset(_differing(self.values, self.read)))

    def yaml(self, path: Path | None = None) -> str:
        """Return the YAML of the values, with a header for a file of that path."""
        loaded = self.loaded()
        path = path or self.file or Path(default_file_name(loaded.config))
        verb = "chat" if self.task.name == "chat" else "run"
        header = [text(f"Run: swiftbox {verb} {path}", f"运行：swiftbox {verb} {path}")]
        return write(loaded.config, header=header, keys=loaded.keys)

    def with_values(self, **changes: Any) -> Draft:
        """Return the draft with other values, not saved yet."""
        return replace(self, values={**self.values, **changes}, file=None)

    def without(self, key: str) -> Draft:
        """Return the draft without a value, not saved yet."""
        values = {name: value for name, value in self.values.items() if name != key}
        return replace(self, values=values, file=None)

    def is_saved(self) -> bool:
        """Tell whether the file holds exactly these values."""
        try:
            return self.file is not None and draft_from_file(self.file).loaded() == self.loaded()
        except UserError:
            return False


def _differing(values: Values, read: Values) -> Iterator[str]:
    """Yield the keys with other values than in the file, those of steps as `step.key`."""
    for key, value in values.items():
        if key == "steps" and isinstance(value, list):
            blocks = {block["name"]: block for block in read.get("steps", ())}
            for block in value:
                name = block["name"]
                inner = _differing(block, blocks.get(name, {}))
                yield from (f"{name}.{changed}" for changed in inner)
        elif read.get(key) != value:
            yield key


def new_draft(task_name: str, values: Values, machine: MachineSource = unknown_machine) -> Draft:
    """Return a draft of a task with these values."""
    task = TASKS[task_name]
    choice = str(values.get(task.discriminator, task.default))
    return Draft(task.config_classes[choice], _without_choice(values, task), machine=machine)


def draft_from_file(path: Path, machine: MachineSource = unknown_machine) -> Draft:
    """Return the draft of a YAML file, with the settings that the file gives."""
    loaded = load(path)
    values = yaml.safe_load(write(loaded.config, keys=loaded.keys))  # the steps as flat blocks
    values = _without_choice(values, TASKS[loaded.config.task])
    return Draft(type(loaded.config), values, path, values, machine)


def _without_choice(values: Values, task: Task[Any]) -> Values:
    """Return the values without the keys that the class of the config stands for."""
    implied = ("version", "task", task.discriminator)
    return {key: value for key, value in values.items() if key not in implied}


def default_file_name(config: TaskConfig) -> str:
    """Return the file name to propose for a config: that of its run."""
    name = TASKS[config.task].run_name(config)
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name) + (
        ".yaml"
    )


def equivalent_command(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does the same as the draft."""
    if draft.file is not None and draft.is_saved():
        return f"swiftbox run {shlex.quote(str(draft.file))}"
    name = shlex.quote(default_file_name(loaded.config))
    values = loaded.config.model_dump(mode="json")
    preset = closest_preset(values)
    if preset is None:
        return f"swiftbox run {name}"
    settings = shlex.join(settings_beside(preset, values))
    return f"swiftbox new {preset} -o {name} {settings} && swiftbox run {name}"


def settings_beside(preset: str, values: Mapping[str, Any]) -> list[str]:
    """Return the settings, as key=value, in which values differ from those of a preset."""
    return changed_settings(load(presets()[preset]).config.model_dump(mode="json"), values)


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the settings, as key=value, that turn one set of values into another."""
    return [f"{key}={scalar(value)}" for key, value in after.items() if before.get(key) != value]


def closest_preset(values: Mapping[str, Any]) -> str | None:
    """Return the preset of the task; of a training that of stage and tuner, else of the stage."""
    prefix = str(values["stage"] if values["task"] == "train" else values["task"])
    exact = f"{prefix}-{values.get('tuner_type') or values.get('method')}"
    related = [name for name in presets() if name == prefix or name.startswith(f"{prefix}-")]
    return next((name for name in (exact, prefix, *related) if name in related), None)
