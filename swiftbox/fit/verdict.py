"""Fits, tight, or does not fit: what a config needs of each device and of their host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.devices.selection import selected_devices
from swiftbox.fit.host import HostNeed, host_need
from swiftbox.fit.host_memory import WaitingNeed, waiting_need
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.fit.memory import Memory, Recipe, training_memory
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.row_sizes import row_sizes
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.training import recipe_of
from swiftbox.formatting import size
from swiftbox.language import text

VerdictWord = Literal["fits", "tight", "no"]

COMFORTABLE_SHARE = 0.9
"""Above this share the error of the estimate (8 % in the median) decides."""

FRAMEWORK_GIB = {"cuda": 0.5, "rocm": 1.0, "npu": 1.0, "mps": 0.5, "cpu": 1.0}
"""GiB of a device's context, or of the libraries in a process's memory on a CPU."""

SHARED_MEMORY_SHARE = 0.7
"""The share of a Mac's memory that its GPU may use (recommendedMaxWorkingSetSize)."""

GIB = 2.0**30

TERM_KEYS = {"activations": "kept"}
"""Names of memory terms in `--json`, where they are not those of the fields."""


@dataclass(frozen=True)
class MemoryFit:
    """What the updates of a training need, against what is there; plan and verdict compare it."""

    memory: Memory
    need_bytes: float
    """Of a device: the memory's peak, corrected by what earlier runs needed."""
    have_bytes: float
    waiting: WaitingNeed
    """What waits in main memory instead of on the devices."""
    is_allowed: bool = True
    """Whether no earlier run ran out of memory with such a share of it."""

    @property
    def fits_device(self) -> bool:
        """Tell whether the device has the memory, with a reserve for the estimate's error."""
        return self._has_room and self.is_allowed

    @property
    def failed_before(self) -> bool:
        """Tell whether the bytes are there, but an earlier run with such a share failed."""
        return self._has_room and not self.is_allowed

    @property
    def lacks_main_memory(self) -> bool:
        """Tell whether it fits the device, and main memory lacks the room for what waits."""
        return self.fits_device and not self.waiting.fits

    @property
    def outcome(self) -> VerdictWord:
        """Return whether device and main memory have what it needs."""
        if not self.waiting.fits or not self.is_allowed or self.need_bytes > self.have_bytes:
            return "no"
        return "fits" if self._has_room else "tight"

    @property
    def _has_room(self) -> bool:
        return self.need_bytes <= COMFORTABLE_SHARE * self.have_bytes


@dataclass(frozen=True)
class FitVerdict:
    """The fit of one config on one machine; bytes are per device."""

    outcome: VerdictWord
    fit: MemoryFit
    exact: bool
    devices: int = 1
    host: HostNeed | None = None
    """What loading takes of the host's memory; None if it is not counted."""
    learned: LearnedLimits = NOTHING_LEARNED
    """What corrected the memory's peak to `need_bytes`."""

    @property
    def memory(self) -> Memory:
        """Return the memory of a device, term by term."""
        return self.fit.memory

    @property
    def need_bytes(self) -> float:
        """Return what is needed of a device."""
        return self.fit.need_bytes

    @property
    def have_bytes(self) -> float:
        """Return what a device has."""
        return self.fit.have_bytes

    def line(self) -> str:
        """Describe it in one line, with both numbers."""
        need, have = size(self.need_bytes), size(self.have_bytes)
        guess = "" if self.exact else text(" (only the size is known)", "（仅知参数量）")
        numbers = text(
            f"{need} needed per device, {have} available{guess}",
            f"每个设备需 {need}，现有 {have}{guess}",
        )
        labels = {
            "fits": text("fits", "放得下"),
            "tight": text("tight", "很紧张"),
            "no": text("does not fit", "放不下"),
        }
        label = labels[self.outcome]
        for need_of_host in (self.fit.waiting, self.host):
            if need_of_host is not None and not need_of_host.fits:
                numbers = need_of_host.line() + text("; ", "；") + numbers
        return text(f"{label}: {numbers}", f"{label}：{numbers}")

    def why(self) -> str:
        """Describe what takes the memory, the largest part first."""
        parts = {
            text("weights", "权重"): self.memory.weights + self.memory.trained,
            text("gradients", "梯度"): self.memory.gradients + self.memory.buckets,
            text("optimizer", "优化器"): self.memory.states,
            text("reference model", "参考模型"): self.memory.reference,
            text("teacher", "教师模型"): self.memory.teacher,
            text("activations", "激活"): max(self.memory.forward, self.memory.update),
            text("allocator and libraries", "分配器与库"): self.memory.fragmented
            + self.memory.framework,
        }
        ranked = sorted(parts.items(), key=lambda item: -item[1])
        return " + ".join(
            f"{name} {size(part_bytes)}" for name, part_bytes in ranked if part_bytes > 0.05 * GIB
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "verdict": self.outcome,
            "need_bytes": round(self.need_bytes),
            "have_bytes": round(self.have_bytes),
            "devices": self.devices,
            "exact": self.exact,
            "host_need_bytes": round(self.host.need_bytes) if self.host else None,
            "host_have_bytes": round(self.host.have_bytes) if self.host else None,
            "waiting_bytes": round(self.fit.waiting.need_bytes),
            "terms": {
                TERM_KEYS.get(term, term): round(value)
                for term, value in vars(self.memory).items()
                if term != "accumulates"
            },
        }


def assess_fit(
    config: TrainConfig,
    profile: ModelProfile,
    machine: Machine,
    lengths: Lengths | None = None,
    learned: LearnedLimits = NOTHING_LEARNED,
) -> FitVerdict:
    """Compare the memory of a settled config with a machine, and with what earlier runs needed.

    It does not fit either if the host lacks the memory to load the model, or for what waits
    there. Without the rows' lengths every row may be as long as max_length.
    """
    recipe = recipe_of(config, profile, row_sizes(config, lengths), backend=machine.backend)
    processes = max(1, config.num_devices or 1)
    fit = memory_fit(profile.shape, recipe, machine, processes, learned)
    host = host_need(config, profile, machine)
    word = "no" if host is not None and not host.fits else fit.outcome
    return FitVerdict(word, fit, profile.exact, processes, host, learned)


def memory_fit(
    shape: ModelShape, recipe: Recipe, machine: Machine, processes: int, learned: LearnedLimits
) -> MemoryFit:
    """Compare what a recipe needs of device and main memory with what the machine has."""
    framework = FRAMEWORK_GIB.get(machine.backend, 1.0) * GIB
    memory = training_memory(shape, recipe, framework=framework)
    need, have = learned.corrected(memory.peak), available(machine, processes)
    if not machine.devices:
        need *= processes  # processes of one CPU share its memory
    waiting = waiting_need(shape, recipe, machine, processes)
    return MemoryFit(memory, need, have, waiting, learned.allows(memory.peak, have))


def available(machine: Machine, processes: int | None = None) -> float:
    """Return the free bytes of the device with the least, or of the host without devices.

    Of the devices that this many processes use; None: all.
    """
    if not machine.devices:
        return float(machine.memory_free_bytes)
    if BACKENDS[machine.backend].shares_memory:
        return SHARED_MEMORY_SHARE * machine.memory_bytes
    count = len(machine.devices) if processes is None else max(1, processes)
    devices = selected_devices(machine, count)
    return float(min(device.free_bytes or device.memory_bytes for device in devices))
