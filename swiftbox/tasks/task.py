"""What every task offers: its config classes, a pure resolution, and the work itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from swiftbox.config.task import TaskConfig
from swiftbox.data.check import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.forecast import Before, Forecast
from swiftbox.models.requirements import Finding
from swiftbox.runs.events import Emit

Config = TypeVar("Config", bound=TaskConfig)

Looked = CheckedRows | Mapping[str, CheckedRows] | None
"""What a check found of rows; of a pipeline, by step."""

Output = Callable[[Path], str]
"""Give what a finished run made, a path or an address, from its folder."""

LEAVE_THE_RESULT = frozenset(
    {"save_steps", "save_total_limit", "eval_steps", "logging_steps", "report_to"}
)
"""Settings that leave the numbers of a run as they are."""

OF_ONE_TASK = {"download": frozenset({"endpoint"})}
"""The same, of one task: a mirror has the same files, another server has other answers."""


def leave_the_result(task: str) -> frozenset[str]:
    """Return the settings that leave what a task makes as it is."""
    return LEAVE_THE_RESULT | OF_ONE_TASK.get(task, frozenset())


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


def _nothing_to_check(_config: Any, _on_remark: Callable[[Finding], None]) -> None:
    """Find nothing wrong."""


def _as_it_is(config: Any) -> Any:
    return config


def _no_output(_config: Any) -> Mapping[str, Output]:
    return {}


def _no_forecast(_config: Any, _machine: Machine, _before: Before) -> Forecast | None:
    return None


def _no_engine(_config: Any, _machine: Machine) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Task(Generic[Config]):
    """One task of the YAML.

    `config_classes` maps the key that picks the config class (for training, `stage`; `task` itself
    if there is one class) to the classes. `resolve` is pure. `run` does the work in the child and
    returns the folder of its result, None if it was stopped. `run_name` names run folders. `check`
    checks what a settled config names on this machine, before any process starts, and raises
    UserError with all problems. `with_absolute_paths` makes existing local paths absolute.
    `engines` names the engines that a run needs (rows of engines/). `outputs` names what a run
    makes for later steps of a pipeline. `forecast` estimates the resources of a run.
    """

    name: str
    discriminator: str
    default: str
    config_classes: Mapping[str, type[Config]]
    resolve: Callable[[Config, Machine], Resolved]
    run: Callable[[Config, Path, Emit], Path | None]
    run_name: Callable[[Config], str]
    check: Callable[[Config, Callable[[Finding], None]], Looked] = _nothing_to_check
    with_absolute_paths: Callable[[Config], Config] = _as_it_is
    engines: Callable[[Config, Machine], tuple[str, ...]] = _no_engine
    outputs: Callable[[Config], Mapping[str, Output]] = _no_output
    forecast: Callable[[Config, Machine, Before], Forecast | None] = _no_forecast
    serves: bool = False
    """Whether it goes on until it is stopped."""
    continues: bool = False
    """Whether run again into its folder, or resumed with other settings, it keeps what holds."""
    uses_devices: bool = True
    """Whether the machine's accelerators matter; where not, nobody asks torch for them."""
