"""What one task takes, in the figures that all tasks have: room, memory (bytes), time (seconds)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.duration import spoken
from swiftbox.fit.estimate import estimate
from swiftbox.fit.profile import BYTES_PER_PARAMETER, ModelProfile
from swiftbox.fit.serving import serving
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.verdict import FRAMEWORK_BYTES, GIB, available
from swiftbox.language import text

CONTEXT = 4096
"""Tokens of an answer with its prompt that are counted on, where nothing is said."""


@dataclass(frozen=True)
class RunInputs:
    """What is known before a run: the shape of its model, and its rows where they are here."""

    model: ModelProfile | None = None
    rows: CheckedRows | None = None


@dataclass(frozen=True)
class Forecast:
    """One run; None stands for what is not known."""

    disk_bytes: float
    memory_bytes: float | None = None
    """On a device, or in the host's memory where there is none."""
    seconds: float | None = None
    output: ModelProfile | None = None
    """The shape of what it makes, where that is not the shape of the model that went in."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {
            "disk_bytes": self.disk_bytes,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class StepForecast:
    """A step of a pipeline and what it takes."""

    name: str
    description: str
    forecast: Forecast | None

    def line(self, number: int, total: int) -> str:
        """Say it in one line."""
        head = f"{number}/{total} {self.name}: {self.description}"
        if self.forecast is None:
            return head
        parts = [
            text(f"disk {_gib(self.forecast.disk_bytes)}", f"磁盘 {_gib(self.forecast.disk_bytes)}")
        ]
        if self.forecast.memory_bytes is not None:
            memory = _gib(self.forecast.memory_bytes)
            parts.append(text(f"memory {memory}", f"内存 {memory}"))
        if self.forecast.seconds is not None:
            amount = spoken(self.forecast.seconds)
            parts.append(text(f"about {amount}", f"约 {amount}"))
        return f"{head}  ({', '.join(parts)})"


@dataclass(frozen=True)
class PipelineForecast:
    """A pipeline before it starts: every step, the room they take together, the most memory."""

    steps: tuple[StepForecast, ...]
    disk_free: float
    memory_there: float

    @property
    def known(self) -> list[Forecast]:
        """Return the forecasts there are."""
        return [one.forecast for one in self.steps if one.forecast is not None]

    @property
    def disk_bytes(self) -> float:
        """Return what all steps write: nothing is removed before the end."""
        return sum(one.disk_bytes for one in self.known)

    @property
    def memory_bytes(self) -> float | None:
        """Return the need of the step that needs the most."""
        return max((one.memory_bytes for one in self.known if one.memory_bytes), default=None)

    @property
    def seconds(self) -> float | None:
        """Return the sum of the times that are known; None where none is."""
        known = [one.seconds for one in self.known if one.seconds is not None]
        return sum(known) if known else None

    def lines(self) -> list[str]:
        """Say each step, then the sum."""
        total = len(self.steps)
        found = [one.line(number, total) for number, one in enumerate(self.steps, start=1)]
        disk, free = _gib(self.disk_bytes), _gib(self.disk_free)
        small = self.disk_bytes > self.disk_free
        said = [
            text("disk too small: ", "磁盘空间不足：") * small
            + text(f"disk {disk} of {free} free", f"磁盘 {disk}（剩余 {free}）")
        ]
        if self.memory_bytes is not None:
            most, there = _gib(self.memory_bytes), _gib(self.memory_there)
            said.append(
                text(f"memory at most {most} of {there}", f"内存最多 {most}（现有 {there}）")
            )
        if self.seconds is not None:
            said.append(_time(self.seconds, self._untimed()))
        else:
            said.append(text("time not known", "所需时间未知"))
        unknown = [one.name for one in self.steps if one.forecast is None]
        if unknown:
            listed = ", ".join(unknown)
            said.append(text(f"without {listed}", f"不含 {listed}"))
        return [*found, text("in all: ", "合计：") + ", ".join(said)]

    def _untimed(self) -> list[str]:
        return [one.name for one in self.steps if one.forecast and one.forecast.seconds is None]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {
            "steps": [
                {
                    "name": one.name,
                    "does": one.description,
                    **(one.forecast.to_dict() if one.forecast else {}),
                }
                for one in self.steps
            ],
            "disk_bytes": self.disk_bytes,
            "disk_free": self.disk_free,
            "memory_bytes": self.memory_bytes,
            "memory_there": self.memory_there,
            "seconds": self.seconds,
        }


def pipeline_forecast(steps: Iterable[StepForecast], machine: Machine) -> PipelineForecast:
    """Put the steps of a pipeline together."""
    return PipelineForecast(tuple(steps), float(machine.disk_free_bytes), available(machine))


def training_forecast(config: TrainConfig, machine: Machine, before: RunInputs) -> Forecast | None:
    """Forecast a training from its estimate."""
    lengths = before.rows.lengths if before.rows is not None else None
    found = estimate(config, machine, lengths, before.model)
    if found is None:
        return None
    seconds = found.duration.seconds if found.duration else None
    return Forecast(found.disk.total, found.verdict.need_bytes, seconds)


def deployment_forecast(
    config: DeployConfig,
    machine: Machine,  # noqa: ARG001 - as every task
    before: RunInputs,
) -> Forecast | None:
    """Forecast a deployment: weights, and the cache of as many answers as there may be."""

    def memory(shape: ModelShape) -> float:
        context = config.max_model_len or min(shape.context or CONTEXT, CONTEXT)
        rows, dtype = config.max_concurrency, config.dtype
        need = serving(shape, storage=dtype, context=context, concurrency=rows)
        return need.device / config.tensor_parallel_size

    return forecast_of_shape(before, disk=lambda _shape: 0.0, memory=memory)


def forecast_of_shape(
    before: RunInputs, *, disk: Callable[[ModelShape], float], memory: Callable[[ModelShape], float]
) -> Forecast | None:
    """Forecast what depends on the model's shape alone.

    What has to be fetched is added to the disk, and the libraries to the memory.
    """
    if before.model is None:
        return None
    shape = before.model.shape
    fetched = 0.0 if before.model.local else download_bytes(before.model)
    return Forecast(fetched + disk(shape), memory(shape) + FRAMEWORK_BYTES["cpu"] * GIB)


def download_bytes(model: ModelProfile) -> float:
    """Return the size of a model's files on a hub, in 16 bits."""
    return model.shape.params * (0.6 if model.quantized else BYTES_PER_PARAMETER["bfloat16"])


def _time(seconds: float, untimed: list[str]) -> str:
    amount = spoken(seconds)
    if not untimed:
        return text(f"about {amount}", f"约 {amount}")
    listed = ", ".join(untimed)
    return text(f"about {amount} and {listed}", f"约 {amount}，另加 {listed}")


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= 0.05 * GIB else f"{count / 2**20:.0f} MiB"
