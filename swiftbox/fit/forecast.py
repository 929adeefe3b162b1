"""What one task needs, in the figures that all tasks share: disk, memory (bytes), time (s)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.config.train import TrainConfig
from swiftbox.data.findings import CheckedRows
from swiftbox.devices.machine import Machine
from swiftbox.fit.duration import approximate
from swiftbox.fit.estimate import estimate
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.fit.profile import BYTES_PER_PARAMETER, ModelProfile
from swiftbox.fit.serving import serving
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.verdict import FRAMEWORK_GIB, GIB, available
from swiftbox.formatting import size
from swiftbox.language import text

CONTEXT = 4096
"""Assumed tokens of a prompt with its answer, if no limit is set."""


@dataclass(frozen=True)
class RunInputs:
    """What is known before a run: its model, and its rows if they are on this machine."""

    model: ModelProfile | None = None
    rows: CheckedRows | None = None
    learned: LearnedLimits = NOTHING_LEARNED
    """What earlier runs of such a training needed."""


@dataclass(frozen=True)
class Forecast:
    """The needs of one run; None means unknown."""

    disk_bytes: float
    memory_bytes: float | None = None
    """On a device, or in the host's memory if there is none."""
    seconds: float | None = None
    output: ModelProfile | None = None
    """The model that it makes, if its shape differs from the input's."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "disk_bytes": self.disk_bytes,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class StepForecast:
    """A step of a pipeline and its forecast."""

    name: str
    description: str
    forecast: Forecast | None

    def line(self, number: int, total: int) -> str:
        """Describe it in one line."""
        place = f"{number}/{total} {self.name}"
        head = text(f"{place}: {self.description}", f"{place}：{self.description}")
        if self.forecast is None:
            return head
        parts = [
            text(f"disk {size(self.forecast.disk_bytes)}", f"磁盘 {size(self.forecast.disk_bytes)}")
        ]
        if self.forecast.memory_bytes is not None:
            memory = size(self.forecast.memory_bytes)
            parts.append(text(f"memory {memory}", f"内存 {memory}"))
        if self.forecast.seconds is not None:
            amount = approximate(self.forecast.seconds)
            parts.append(text(f"about {amount}", f"约 {amount}"))
        needs = text(", ", "，").join(parts)
        return text(f"{head}  ({needs})", f"{head}（{needs}）")


@dataclass(frozen=True)
class PipelineForecast:
    """The forecast of a pipeline: every step, the total disk space, the peak memory."""

    steps: tuple[StepForecast, ...]
    disk_free: float
    memory_available: float

    @property
    def known(self) -> list[Forecast]:
        """Return the known forecasts."""
        return [step.forecast for step in self.steps if step.forecast is not None]

    @property
    def disk_bytes(self) -> float:
        """Return the bytes that all steps write; nothing is deleted before the end."""
        return sum(forecast.disk_bytes for forecast in self.known)

    @property
    def memory_bytes(self) -> float | None:
        """Return the memory of the step that needs the most."""
        return max(
            (forecast.memory_bytes for forecast in self.known if forecast.memory_bytes),
            default=None,
        )

    @property
    def seconds(self) -> float | None:
        """Return the sum of the known times; None if none is known."""
        known = [forecast.seconds for forecast in self.known if forecast.seconds is not None]
        return sum(known) if known else None

    def lines(self) -> list[str]:
        """Describe each step, then the totals."""
        total = len(self.steps)
        lines = [step.line(number, total) for number, step in enumerate(self.steps, start=1)]
        return [*lines, text("in all: ", "合计：") + text(", ", "，").join(self._totals())]

    def _totals(self) -> list[str]:
        needed, free = size(self.disk_bytes), size(self.disk_free)
        disk = text(f"disk {needed} of {free} free", f"磁盘 {needed}（剩余 {free}）")
        if self.disk_bytes > self.disk_free:
            disk = text("disk too small: ", "磁盘空间不足：") + disk
        totals = [disk]
        if self.memory_bytes is not None:
            peak, available_memory = size(self.memory_bytes), size(self.memory_available)
            totals.append(
                text(
                    f"memory at most {peak} of {available_memory}",
                    f"内存最多 {peak}（现有 {available_memory}）",
                )
            )
        if self.seconds is not None:
            totals.append(_time(self.seconds, self._untimed()))
        else:
            totals.append(text("time not known", "所需时间未知"))
        if unknown := [step.name for step in self.steps if step.forecast is None]:
            listed = text(", ", "、").join(unknown)
            totals.append(text(f"without {listed}", f"不含 {listed}"))
        return totals

    def _untimed(self) -> list[str]:
        return [step.name for step in self.steps if step.forecast and step.forecast.seconds is None]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "steps": [
                {
                    "name": step.name,
                    "does": step.description,
                    **(step.forecast.to_dict() if step.forecast else {}),
                }
                for step in self.steps
            ],
            "disk_bytes": self.disk_bytes,
            "disk_free": self.disk_free,
            "memory_bytes": self.memory_bytes,
            "memory_there": self.memory_available,
            "seconds": self.seconds,
        }


def pipeline_forecast(steps: Iterable[StepForecast], machine: Machine) -> PipelineForecast:
    """Combine the forecasts of a pipeline's steps."""
    return PipelineForecast(tuple(steps), float(machine.disk_free_bytes), available(machine))


def training_forecast(config: TrainConfig, machine: Machine, inputs: RunInputs) -> Forecast | None:
    """Forecast a training from its estimate."""
    lengths = inputs.rows.lengths if inputs.rows is not None else None
    estimated = estimate(config, machine, lengths, inputs.model, inputs.learned)
    if estimated is None:
        return None
    seconds = estimated.duration.seconds if estimated.duration else None
    return Forecast(estimated.disk.total, estimated.verdict.need_bytes, seconds)


def deployment_forecast(
    config: DeployConfig,
    machine: Machine,  # noqa: ARG001 - as every task
    inputs: RunInputs,
) -> Forecast | None:
    """Forecast a deployment: weights, and the cache of the maximum number of concurrent answers."""

    def memory(shape: ModelShape) -> float:
        context = config.max_model_len or min(shape.context or CONTEXT, CONTEXT)
        rows, dtype = config.max_concurrency, config.dtype
        need = serving(shape, storage=dtype, context=context, concurrency=rows)
        return need.device / config.tensor_parallel_size

    return forecast_of_shape(inputs, disk=lambda _shape: 0.0, memory=memory)


def forecast_of_shape(
    inputs: RunInputs, *, disk: Callable[[ModelShape], float], memory: Callable[[ModelShape], float]
) -> Forecast | None:
    """Forecast needs that depend only on the model's shape.

    Adds the download to the disk space, and the libraries to the memory.
    """
    if inputs.model is None:
        return None
    shape = inputs.model.shape
    fetched = 0.0 if inputs.model.local else download_bytes(inputs.model)
    return Forecast(fetched + disk(shape), memory(shape) + FRAMEWORK_GIB["cpu"] * GIB)


def download_bytes(model: ModelProfile) -> float:
    """Return the size of a model's files on a hub, in 16-bit numbers."""
    return model.shape.params * (0.6 if model.quantized else BYTES_PER_PARAMETER["bfloat16"])


def _time(seconds: float, untimed: list[str]) -> str:
    amount = approximate(seconds)
    if not untimed:
        return text(f"about {amount}", f"约 {amount}")
    listed = text(", ", "、").join(untimed)
    return text(f"about {amount} and {listed}", f"约 {amount}，另加 {listed}")
