"""What every task offers: its config classes, a pure resolution, and the work itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine

Config = TypeVar("Config", bound=TaskConfig)

Emit = Callable[..., None]
"""Record an event: ``emit("step", step=3, loss=1.2)``."""


@dataclass(frozen=True)
class Reason:
    """Why a setting has its value."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Resolved:
    """A config without `auto`, the reasons, and how many processes carry it out."""

    config: TaskConfig
    reasons: tuple[Reason, ...]
    processes: int
    env: Mapping[str, str]


@dataclass(frozen=True)
class Task(Generic[Config]):
    """One task of the YAML.

    `choices` maps the key that picks the config class (for training, `stage`; `task` itself where
    there is one class) to the classes; `resolve` is pure; `run` does the work in the child and
    returns the folder of its result, None when it was stopped; `title` names run folders.
    """

    name: str
    discriminator: str
    default: str
    choices: Mapping[str, type[Config]]
    resolve: Callable[[Config, Machine], Resolved]
    run: Callable[[Config, Path, Emit], Path | None]
    title: Callable[[Config], str]
    uses_devices: bool = True
    """Whether the machine's accelerators matter; where not, nobody asks torch for them."""
