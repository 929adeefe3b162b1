"""A YAML being put together: its class, what was chosen, the file that it came from."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from swiftbox.config.presets import presets
from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import scalar, write
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu.form import Values, unknown
from swiftbox.menu.options.models import MachineNow
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, load, loads
from swiftbox.tasks.task import Task


@dataclass(frozen=True)
class Draft:
    """What was chosen of a config so far; a file that it came from may have been changed since."""

    model: type[TaskConfig]
    values: Values
    file: Path | None = None
    machine: MachineNow = field(default=unknown, compare=False)
    """Tells what this machine is once it is known, for what fits."""

    @property
    def task(self) -> Task[Any]:
        """Return the task that carries it out."""
        return TASKS[str(self.model.model_fields["task"].default)]

    def loaded(self) -> Loaded:
        """Return the typed config; raise ConfigError with all that is wrong."""
        picked = self.task.discriminator
        given = {
            "task": self.task.name,
            picked: self.model.model_fields[picked].default,
            **self.values,
        }
        overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
        return loads("", source="menu", overrides=overrides)

    def yaml(self, name: Path | None = None) -> str:
        """Return the YAML of what was chosen, for a file of that name."""
        loaded = self.loaded()
        name = name or self.file or Path(default_name(loaded.config))
        verb = "chat" if self.task.name == "chat" else "run"
        header = [text(f"Run: swiftbox {verb} {name}", f"运行：swiftbox {verb} {name}")]
        return write(loaded.config, header=header, keys=loaded.asked)

    def with_values(self, **changes: Any) -> Draft:
        """Return the draft with other values, which no file has yet."""
        return replace(self, values={**self.values, **changes}, file=None)

    def is_saved(self) -> bool:
        """Tell whether nothing was changed since its file was read or written."""
        try:
            return self.file is not None and of_file(self.file).loaded() == self.loaded()
        except UserError:
            return False


def of_task(name: str, values: Values, machine: MachineNow = unknown) -> Draft:
    """Return a draft of a task with these values."""
    task = TASKS[name]
    picked = str(values.get(task.discriminator, task.default))
    kept = {key: value for key, value in values.items() if key not in ("task", task.discriminator)}
    return Draft(task.config_classes[picked], kept, machine=machine)


def of_file(path: Path, machine: MachineNow = unknown) -> Draft:
    """Return the draft of a YAML; its settings are what the file gives."""
    loaded = load(path)
    picked = TASKS[loaded.config.task].discriminator
    values = yaml.safe_load(write(loaded.config, keys=loaded.asked))  # the steps as flat blocks
    kept = {key: value for key, value in values.items() if key not in ("version", "task", picked)}
    return Draft(type(loaded.config), kept, path, machine)


def default_name(config: TaskConfig) -> str:
    """Return the file name that a config is saved under: as its run would be named."""
    title = TASKS[config.task].run_name(config)
    return "".join(one if one.isalnum() or one in "-._" else "-" for one in title) + ".yaml"


def command_of(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does what the menu does."""
    if draft.file is not None and draft.is_saved():
        return f"swiftbox run {shlex.quote(str(draft.file))}"
    name = shlex.quote(default_name(loaded.config))
    wanted = loaded.config.model_dump(mode="json")
    preset = nearest_preset(wanted)
    if preset is None:
        return f"swiftbox run {name}"
    given = load(presets()[preset]).config.model_dump(mode="json")
    settings = [
        shlex.quote(f"{key}={scalar(value)}")
        for key, value in wanted.items()
        if given.get(key) != value
    ]
    return f"swiftbox new {preset} -o {name} {' '.join(settings)} && swiftbox run {name}"


def nearest_preset(wanted: Values) -> str | None:
    """Return the preset of the task; of a training that of stage and tuner, else of the stage."""
    first = str(wanted["stage"] if wanted["task"] == "train" else wanted["task"])
    exact = f"{first}-{wanted.get('tuner_type') or wanted.get('method')}"
    alike = [name for name in presets() if name == first or name.startswith(f"{first}-")]
    return next((name for name in (exact, first, *alike) if name in alike), None)
