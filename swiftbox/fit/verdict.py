"""Fits, tight, or does not fit: what a config needs of each device against what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from swiftbox.config.train import TrainConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.memory import Memory, training_memory
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.training import recipe_of
from swiftbox.language import text

VerdictWord = Literal["fits", "tight", "no"]

COMFORTABLE = 0.9
"""Above this share of the device the estimate's own error (8 % in the median) decides."""

FRAMEWORK_BYTES = {"cuda": 0.5, "rocm": 1.0, "npu": 1.0, "mps": 0.5, "cpu": 1.0}
"""GiB of the context of a device, or of the libraries in a process's memory on a CPU."""

SHARED_MEMORY_SHARE = 0.7
"""Of a Mac's memory, what its GPU may take (recommendedMaxWorkingSetSize)."""

GIB = 2.0**30

TERM_KEYS = {"activations": "kept"}
"""Names of memory terms in `--json`, where they are not those of the fields."""


@dataclass(frozen=True)
class FitVerdict:
    """One config on one machine; bytes per device."""

    outcome: VerdictWord
    need_bytes: float
    have_bytes: float
    memory: Memory
    exact: bool
    devices: int = 1

    def line(self) -> str:
        """Say it in one line, with both numbers."""
        need, have = self.need_bytes / GIB, self.have_bytes / GIB
        guess = "" if self.exact else text(" (size alone known)", "（仅知参数量）")
        numbers = text(
            f"{need:.1f} GiB needed per device, {have:.1f} GiB there{guess}",
            f"每个设备需 {need:.1f} GiB，现有 {have:.1f} GiB{guess}",
        )
        words = {
            "fits": text("fits", "放得下"),
            "tight": text("tight", "很紧张"),
            "no": text("does not fit", "放不下"),
        }
        return f"{words[self.outcome]}: {numbers}"

    def why(self) -> str:
        """Say what takes the memory, the largest first."""
        parts = {
            text("weights", "权重"): self.memory.weights + self.memory.trained,
            text("gradients", "梯度"): self.memory.gradients,
            text("optimizer", "优化器"): self.memory.states,
            text("reference model", "参考模型"): self.memory.reference,
            text("activations", "激活"): self.memory.activations
            + max(
                self.memory.work, self.memory.logits, self.memory.update - self.memory.activations
            ),
            text("allocator and libraries", "分配器与库"): self.memory.fragmented
            + self.memory.framework,
        }
        ranked = sorted(parts.items(), key=lambda item: -item[1])
        return " + ".join(f"{name} {size / GIB:.1f}" for name, size in ranked if size > 0.05 * GIB)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {
            "verdict": self.outcome,
            "need_bytes": round(self.need_bytes),
            "have_bytes": round(self.have_bytes),
            "devices": self.devices,
            "exact": self.exact,
            "terms": {
                TERM_KEYS.get(term, term): round(value)
                for term, value in vars(self.memory).items()
                if term != "accumulates"
            },
        }


def assess_fit(
    config: TrainConfig,
    shape: ModelShape,
    machine: Machine,
    *,
    exact: bool = True,
    quantized: str = "",
) -> FitVerdict:
    """Hold a settled config against a machine."""
    recipe = recipe_of(config, shape, backend=machine.backend, quantized=quantized)
    framework = FRAMEWORK_BYTES.get(machine.backend, 1.0) * GIB
    processes = max(1, config.num_devices or 1)
    memory = training_memory(shape, recipe, framework=framework)
    need, have = memory.peak, available(machine)
    if not machine.devices:
        need *= processes  # processes of one CPU share its memory
    share = need / have if have else float("inf")
    word: VerdictWord = "fits" if share <= COMFORTABLE else "tight" if share <= 1.0 else "no"
    return FitVerdict(word, need, have, memory, exact, processes)


def available(machine: Machine) -> float:
    """Return the bytes of the device with the least memory free, or of the CPU's memory."""
    if not machine.devices:
        return float(machine.memory_free_bytes)
    if BACKENDS[machine.backend].shares_memory:
        return SHARED_MEMORY_SHARE * machine.memory_bytes
    return float(min(one.free_bytes or one.memory_bytes for one in machine.devices))
