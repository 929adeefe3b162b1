"""The cheapest change that makes a training fit, tried in the order of cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.data.lengths import Lengths
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.learned import NOTHING_LEARNED
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.richest_tuner import supports_qlora
from swiftbox.fit.verdict import FitVerdict, assess_fit
from swiftbox.fit.workload import Workload

SHORTEST = 512
"""A shorter max_length would change the result more than a smaller model."""

COUNTS = (2, 4, *range(8, 1025, 8))
"""Devices come in groups of eight; beyond about a thousand, sharding costs more than it saves."""

ALIKE = {
    "activation_offload",
    "gradient_checkpointing",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
}
"""Settings after whose change earlier runs still tell what a training needs."""

CHEAP = {*ALIKE, "max_length"}
"""Settings that can change without changing the model or the tuner."""

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
        values = {key: _written(value) for key, value in self.changes.items()}
        return " ".join(f"{key}={value}" for key, value in values.items())


def _written(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def propose(
    config: TrainConfig,
    profile: ModelProfile,
    machine: Machine,
    workload: Workload,
    smaller: Smaller | None = None,
) -> Proposal | None:
    """Return the first change that fits; None if none does."""

    def attempt(changes: Changes, profile: ModelProfile) -> Proposal:
        settings = {key: value for key, value in changes.items() if key != "model"}
        changed = config.model_copy(update=settings)
        learned = workload.learned if changes.keys() <= ALIKE else NOTHING_LEARNED
        verdict = assess_fit(changed, profile, machine, workload.lengths, learned)
        return Proposal(changes, verdict)

    for changes in _on_this_model(config, profile, machine):
        proposal = attempt(changes, profile)
        if proposal.verdict.outcome == "fits":
            return proposal
    for name, smaller_profile in smaller(config.model) if smaller else ():
        last_changes = _cheap(config) | _less_base(config, smaller_profile, machine)
        for changes in (_cheap(config), last_changes):
            model_changes = {"model": name, **changes}
            proposal = attempt(model_changes, smaller_profile)
            if proposal.verdict.outcome == "fits":
                return proposal
    return None


def with_more_devices(
    config: TrainConfig, profile: ModelProfile, machine: Machine, lengths: Lengths | None = None
) -> Proposal | None:
    """Return the number of devices of this kind that suffice with sharding; None if none does."""
    kind = _sharding(machine)
    if not machine.devices or kind is None:
        return None
    for count in COUNTS:
        if count <= len(machine.devices):
            continue
        changes = {**_saving(config), "distributed": kind, "num_devices": count}
        changed = config.model_copy(update=changes)
        verdict = assess_fit(changed, profile, machine, lengths)
        if verdict.outcome == "fits":
            return Proposal(changes, verdict)
    return None


def _sharding(machine: Machine) -> str | None:
    strategies = BACKENDS[machine.backend].distributed
    return next((strategy for strategy in ("fsdp", "zero3") if strategy in strategies), None)


def _on_this_model(
    config: TrainConfig, profile: ModelProfile, machine: Machine
) -> Iterator[Changes]:
    saving = _saving(config)
    if config.activation_offload:
        yield {"activation_offload": False}  # main memory may be what is short
    if saving:
        yield saving
    yield from _smaller_batches(config, saving)
    less = _less_base(config, profile, machine)
    if less:
        yield {**saving, **less}
        yield from _smaller_batches(config, {**saving, **less})
    more = _more_devices(config, machine)
    if more:
        yield {**saving, **more}
        yield from _smaller_batches(config, {**saving, **more})


def _saving(config: TrainConfig) -> dict[str, Any]:
    return {} if config.gradient_checkpointing == "true" else {"gradient_checkpointing": "true"}


def _smaller_batches(config: TrainConfig, changes: Changes) -> Iterator[Changes]:
    """Yield smaller micro-batches with the same rows per update, then shorter rows."""
    rows = config.micro_batch
    smallest = dict(changes)
    while rows > 1 and rows % 2 == 0:
        rows //= 2
        factor = config.micro_batch // rows
        smallest = {
            **changes,
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": config.gradient_accumulation_steps * factor,
        }
        yield smallest
    length = config.max_length
    while length // 2 >= SHORTEST:
        length //= 2
        yield {**smallest, "max_length": length}


def _cheap(config: TrainConfig) -> dict[str, Any]:
    return {**_saving(config)}


def _less_base(config: TrainConfig, profile: ModelProfile, machine: Machine) -> dict[str, Any]:
    """Return QLoRA if the backend has kernels for it and it is not set yet.

    QLoRA does not quantize experts: where most weights are theirs, LoRA saves as much.
    """
    if profile.shape.in_experts > profile.shape.inside / 2:
        return {"tuner_type": "lora"} if config.tuner_type in FULL_TUNERS else {}
    if not supports_qlora(machine) or config.tuner_type == "qlora":
        return {}
    if config.tuner_type not in (*FULL_TUNERS, "lora"):
        return {}
    return {"tuner_type": "qlora"}


def _more_devices(config: TrainConfig, machine: Machine) -> dict[str, Any]:
    """Return sharding over all devices, if there are several and weights are not sharded yet."""
    count = len(machine.devices)
    sharded = config.distributed in ("fsdp", "zero3") and (config.num_devices or 1) == count
    if count < 2 or sharded:
        return {}
    return {"distributed": _sharding(machine) or "zero3", "num_devices": count}
