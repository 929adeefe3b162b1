"""What every task offers: its config classes, a pure resolution, and the work itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.devices.machine import Machine

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

    config: TrainConfig
    reasons: tuple[Reason, ...]
    processes: int
    env: Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """One task of the YAML.

    `choices` maps the key that picks the config class (for training, `stage`) to the classes;
    `resolve` is pure; `run` does the work in the child and returns the folder of its result.
    """

    name: str
    discriminator: str
    default: str
    choices: Mapping[str, type[TrainConfig]]
    resolve: Callable[[TrainConfig, Machine], Resolved]
    run: Callable[[TrainConfig, Path, Emit], Path | None]
