"""The cheapest change that makes a training fit, tried in the order of what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.richest_tuner import supports_qlora
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.verdict import FitVerdict, assess_fit

SHORTEST = 512
"""A max_length below this changes what is learned more than a smaller model would."""

COUNTS = (2, 4, *range(8, 1025, 8))
"""Devices come by eights; beyond some thousand the pieces cost more than they save."""

CHEAP = {
    "gradient_checkpointing",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_length",
}
"""Settings whose change keeps model and tuner."""

Changes = Mapping[str, Any]
Smaller = Callable[[str], Iterator[tuple[str, ModelProfile]]]
"""Yields models of the same family, the largest first."""


@dataclass(frozen=True)
class Proposal:
    """Settings to change, and the verdict with them."""

    changes: Changes
    verdict: FitVerdict

    def settings(self) -> str:
        """Write the changes as the command line takes them."""
        return " ".join(f"{key}={value}" for key, value in self.changes.items())


def propose(
    config: TrainConfig, found: ModelProfile, machine: Machine, smaller: Smaller | None = None
) -> Proposal | None:
    """Return the first change that fits; None where none does."""

    def tried(changes: Changes, shape: ModelShape, *, exact: bool, quantized: str) -> Proposal:
        settings = {key: value for key, value in changes.items() if key != "model"}
        changed = config.model_copy(update=settings)
        verdict = assess_fit(changed, shape, machine, exact=exact, quantized=quantized)
        return Proposal(changes, verdict)

    for changes in _on_this_model(config, machine):
        one = tried(changes, found.shape, exact=found.exact, quantized=found.quantized)
        if one.verdict.outcome == "fits":
            return one
    last = _cheap(config) | _quantized(config, machine)
    for name, other in smaller(config.model) if smaller else ():
        for changes in (_cheap(config), last):
            named = {"model": name, **changes}
            one = tried(named, other.shape, exact=other.exact, quantized=other.quantized)
            if one.verdict.outcome == "fits":
                return one
    return None


def with_more_devices(
    config: TrainConfig, found: ModelProfile, machine: Machine
) -> Proposal | None:
    """Return how many devices of this kind would do with all sharded; None where none would."""
    kind = _sharding(machine)
    if not machine.devices or kind is None:
        return None
    for count in COUNTS:
        if count <= len(machine.devices):
            continue
        changes = {**_saving(config), "distributed": kind, "num_devices": count}
        changed = config.model_copy(update=changes)
        verdict = assess_fit(
            changed, found.shape, machine, exact=found.exact, quantized=found.quantized
        )
        if verdict.outcome == "fits":
            return Proposal(changes, verdict)
    return None


def _sharding(machine: Machine) -> str | None:
    strategies = BACKENDS[machine.backend].distributed
    return next((one for one in ("fsdp", "zero3") if one in strategies), None)


def _on_this_model(config: TrainConfig, machine: Machine) -> Iterator[Changes]:
    saving = _saving(config)
    if saving:
        yield saving
    yield from _less_at_once(config, saving)
    quantized = _quantized(config, machine)
    if quantized:
        yield {**saving, **quantized}
        yield from _less_at_once(config, {**saving, **quantized})
    more = _more_devices(config, machine)
    if more:
        yield {**saving, **more}
        yield from _less_at_once(config, {**saving, **more})


def _saving(config: TrainConfig) -> dict[str, Any]:
    return {} if config.gradient_checkpointing == "true" else {"gradient_checkpointing": "true"}


def _less_at_once(config: TrainConfig, base: Changes) -> Iterator[Changes]:
    """Yield smaller micro-batches with as many rows per update, then shorter rows."""
    rows = config.per_device_train_batch_size
    least = dict(base)
    while rows > 1 and rows % 2 == 0:
        rows //= 2
        times = config.per_device_train_batch_size // rows
        least = {
            **base,
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": config.gradient_accumulation_steps * times,
        }
        yield least
    length = config.max_length
    while length // 2 >= SHORTEST:
        length //= 2
        yield {**least, "max_length": length}


def _cheap(config: TrainConfig) -> dict[str, Any]:
    return {**_saving(config)}


def _quantized(config: TrainConfig, machine: Machine) -> dict[str, Any]:
    """Return QLoRA where the backend has kernels for it and it is not on yet."""
    if not supports_qlora(machine) or config.tuner_type == "qlora":
        return {}
    if config.tuner_type not in (*FULL_TUNERS, "lora"):
        return {}
    return {"tuner_type": "qlora"}


def _more_devices(config: TrainConfig, machine: Machine) -> dict[str, Any]:
    """Return sharding over all devices, where there are several and weights are still whole."""
    count = len(machine.devices)
    sharded = config.distributed in ("fsdp", "zero3") and (config.num_devices or 1) == count
    if count < 2 or sharded:
        return {}
    return {"distributed": _sharding(machine) or "zero3", "num_devices": count}
