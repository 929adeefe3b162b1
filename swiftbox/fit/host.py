"""The host's memory that the processes of a training take while they load the model to devices.

Files that are mapped are not counted: the kernel drops their pages when memory is short. So a
tensor that keeps its number type costs nothing, and one that is cast has a copy. Where weights are
split by a strategy, each process first has all of them in its own memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftbox.config.combinations import SHARDED
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.profile import ModelProfile
from swiftbox.formatting import size
from swiftbox.language import text

LIBRARY_BYTES = 1.5 * 2**30
"""Of torch and the driver's context, per process."""

READERS = 4
"""Threads by which transformers reads tensors that it does not quantize."""

CAST_BYTES = 4.0
"""Of a weight that becomes float32."""


@dataclass(frozen=True)
class HostNeed:
    """Bytes of the host's memory that all processes of a training take to load the model."""

    need_bytes: float
    have_bytes: float
    processes: int

    @property
    def fits(self) -> bool:
        """Return whether the host has the memory."""
        return self.need_bytes <= self.have_bytes

    def line(self) -> str:
        """Describe it in one line, with both numbers."""
        need, have, count = size(self.need_bytes), size(self.have_bytes), self.processes
        if count == 1:
            return text(
                f"to load the model, the host needs {need}, {have} available",
                f"加载模型需主机内存 {need}，现有 {have}",
            )
        return text(
            f"to load the model, the host needs {need} for {count} processes, {have} available",
            f"{count} 个进程加载模型共需主机内存 {need}，现有 {have}",
        )


def host_need(config: TrainConfig, profile: ModelProfile, machine: Machine) -> HostNeed | None:
    """Return what loading takes of the host; None where devices share its memory.

    Also None for more devices than the machine has: nobody knows the host of those.
    """
    processes = max(1, config.num_devices or 1)
    shares = BACKENDS[machine.backend].shares_memory
    if shares or len(machine.devices) < processes:
        return None
    need = processes * (LIBRARY_BYTES + _copies(config, profile))
    return HostNeed(need, float(machine.memory_free_bytes), processes)


def _copies(config: TrainConfig, profile: ModelProfile) -> float:
    """Return the bytes of cast weights that one process has at the same time.

    Models are taken to be stored in bfloat16, as nearly all are.
    """
    shape, is_full = profile.shape, config.tuner_type in FULL_TUNERS
    is_split = config.distributed in SHARDED and config.distributed != "zero3"
    largest = max(shape.table, float(shape.hidden * max(shape.intermediate, shape.query_width)))
    if config.tuner_type == "qlora" or profile.quantized:
        return CAST_BYTES * largest  # tensors are read one by one
    if is_full and not config.pure_bf16:
        return CAST_BYTES * (shape.params if is_split else READERS * largest)
    if config.dtype == "bfloat16":
        return 0.0
    bytes_each = 4.0 if config.dtype == "float32" else 2.0
    return bytes_each * (shape.params if is_split else READERS * largest)
