"""The interface of a task: config classes, a pure resolution, checks, and the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.runs.events import Emit
from swiftbox.runs.optional_packages import MEDIA, SCIENCE

if TYPE_CHECKING:  # the child of a run checks and forecasts nothing
    from swiftbox.data.findings import CheckedRows
    from swiftbox.fit.forecast import Forecast, RunInputs
    from swiftbox.fit.workload import Workload
    from swiftbox.models.requirements import Remark
    from swiftbox.tasks.effects import Effects

Config = TypeVar("Config", bound=TaskConfig)

CheckResult: TypeAlias = "CheckedRows | Mapping[str, CheckedRows] | None"
"""The result of checking the rows; for a pipeline, by step."""

Output = Callable[[Path], str]
"""From the folder of a finished run to one of its outputs, a path or an address."""

RESULT_NEUTRAL = frozenset(
    "save_steps save_total_limit eval_steps logging_steps report_to gradient_checkpointing "
    "activation_offload".split()
)
"""Settings that do not change the result of a run."""

RESULT_NEUTRAL_BY_TASK = {"download": frozenset({"endpoint"})}
"""A mirror has the same files; for other tasks another endpoint gives other answers."""


def result_neutral_settings(task: str) -> frozenset[str]:
    """Return the settings that do not change the result of a task."""
    return RESULT_NEUTRAL | RESULT_NEUTRAL_BY_TASK.get(task, frozenset())


@dataclass(frozen=True)
class Reason:
    """The value of a setting, and why it has it."""

    key: str
    value: Any
    why: str

    def line(self) -> str:
        """Describe it in one line: a setting as in YAML, a Chinese name with a Chinese colon."""
        colon = ": " if self.key.isascii() else "："
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return f"{self.key}{colon}{value}  # {self.why}"


@dataclass(frozen=True)
class Resolved:
    """A config without `auto`, the reasons, and the number of processes that run it."""

    config: TaskConfig
    reasons: tuple[Reason, ...]
    processes: int
    env: Mapping[str, str]


def _nothing_to_check(_config: Any, _on_remark: Callable[[Remark], None]) -> None:
    """Accept every config."""


def _always_available(_config: Any) -> None:
    """Accept every config."""


def _unchanged(config: Any) -> Any:
    return config


def _no_output(_config: Any) -> Mapping[str, Output]:
    return {}


def _no_forecast(_config: Any, _machine: Machine, _before: RunInputs) -> Forecast | None:
    return None


def _no_engine(_config: Any, _machine: Machine) -> tuple[str, ...]:
    return ()


def usual_unused_packages(config: Any) -> frozenset[str]:
    """Return packages that no task uses; code of a model's repository may import any package."""
    return frozenset() if getattr(config, "trust_remote_code", False) else MEDIA | SCIENCE


@dataclass(frozen=True)
class Task(Generic[Config]):
    """One task of the YAML.

    `config_classes` maps the key that picks the config class (for training, `stage`; `task` itself
    if there is one class) to the classes. `resolve` is pure. `run` does the work in the child and
    returns the folder of its result, None if it was stopped. `run_name` names run folders.
    `effects` lists what a run executes, sends and writes outside its folder. `check`
    checks what a settled config names on this machine, before any process starts, and raises
    UserError with all problems. `check_availability` is the part of it that other programs change:
    a port, room on a disk; it is cheap, and repeated right before a start. `with_absolute_paths`
    makes existing local paths absolute. `engines` names the engines that a run needs (rows of
    engines/). `outputs` names what a run makes for later steps of a pipeline. `forecast` estimates
    the resources of a run. `unused_packages` names installed packages that the child need not
    import.
    """

    name: str
    discriminator: str
    default: str
    config_classes: Mapping[str, type[Config]]
    resolve: Callable[[Config, Machine], Resolved]
    run: Callable[[Config, Path, Emit], Path | None]
    run_name: Callable[[Config], str]
    effects: Callable[[Config], Effects]
    check: Callable[[Config, Callable[[Remark], None]], CheckResult] = _nothing_to_check
    check_availability: Callable[[Config], None] = _always_available
    with_absolute_paths: Callable[[Config], Config] = _unchanged
    engines: Callable[[Config, Machine], tuple[str, ...]] = _no_engine
    outputs: Callable[[Config], Mapping[str, Output]] = _no_output
    offers: Callable[[Config, Machine], tuple[str, ...]] = _no_engine
    """Names the engines that `auto`, in a config before it is settled, would take if installed."""
    forecast: Callable[[Config, Machine, RunInputs], Forecast | None] = _no_forecast
    unused_packages: Callable[[Config], frozenset[str]] = usual_unused_packages
    resolve_workload: Callable[[Config, Machine, Workload], Resolved] | None = None
    """As `resolve`, for a task whose plan depends on what it works on."""
    serves: bool = False
    """Whether it runs until it is stopped."""
    continues: bool = False
    """Whether a run into the same folder, or a resume with other settings, keeps valid results."""
    uses_devices: bool = True
    """Whether it uses accelerators; otherwise the machine is probed without torch."""
