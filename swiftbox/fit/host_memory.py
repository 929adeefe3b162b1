"""Main memory of what waits there instead of on the device: activations and optimizer states.

Pinned memory is allocated in powers of two, and cannot be swapped out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.fit.memory import Recipe, paged_states, saved_activations, waiting_per_token
from swiftbox.fit.shape import ModelShape
from swiftbox.formatting import size
from swiftbox.language import text

HOST_SHARE = 0.5
"""Of the free main memory; the rest is for libraries, the loading of weights and the rows."""

STORED_AGAIN = 1.6
"""A tensor that several operators save is stored for each: 1.4 to 1.6 times the bytes, counted by
hooks in layers of a Qwen3 on a CPU."""

MOST_ROUNDING = 2.0
"""What a power of two may have of the bytes in it."""


@dataclass(frozen=True)
class WaitingNeed:
    """Bytes of main memory that wait for all processes of a training, and how many may."""

    need_bytes: float
    limit_bytes: float

    @property
    def fits(self) -> bool:
        """Return whether main memory has room for them."""
        return self.need_bytes <= self.limit_bytes

    def line(self) -> str:
        """Describe it in one line, with both numbers."""
        need, limit = size(self.need_bytes), size(self.limit_bytes)
        return text(
            f"{need} would wait in main memory, of which {limit} may be taken",
            f"主机内存中需存放 {need}，而可用于此的只有 {limit}",
        )


def waiting_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes of main memory that one process needs for what waits there."""
    return paged_states(recipe) + _offloaded(shape, recipe)


def waiting_need(
    shape: ModelShape, recipe: Recipe, machine: Machine, processes: int
) -> WaitingNeed:
    """Return what waits in main memory, against what it may take there.

    The main memory of more devices than the machine has is not known: it has no limit.
    """
    need = processes * waiting_bytes(shape, recipe)
    shares = BACKENDS[machine.backend].shares_memory
    if not shares and machine.devices and processes > len(machine.devices):
        return WaitingNeed(need, math.inf)
    return WaitingNeed(need, HOST_SHARE * machine.memory_free_bytes)


def _offloaded(shape: ModelShape, recipe: Recipe) -> float:
    if not recipe.offloads:
        return 0.0
    if recipe.checkpointing == "none":
        saved = saved_activations(shape, replace(recipe, offloads=False))
        return saved * STORED_AGAIN * MOST_ROUNDING
    each = waiting_per_token(shape, recipe) * recipe.tokens  # the input of a layer is one tensor
    return float(shape.layers * 2.0 ** math.ceil(math.log2(max(1.0, each))))
