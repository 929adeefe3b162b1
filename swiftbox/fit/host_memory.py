"""Main memory of what waits there instead of on the device: activations and optimizer states.

Pinned memory is allocated in powers of two, and cannot be swapped out.
"""

from __future__ import annotations

import math
from dataclasses import replace

from swiftbox.devices.machine import Machine
from swiftbox.fit.memory import Recipe, paged_states, saved_activations, waiting_per_token
from swiftbox.fit.shape import ModelShape

HOST_SHARE = 0.5
"""Of the free main memory; the rest is for libraries, the loading of weights and the rows."""

STORED_AGAIN = 1.6
"""A tensor that several operators save is stored for each: 1.4 to 1.6 times the bytes, counted by
hooks in layers of a Qwen3 on a CPU."""

MOST_ROUNDING = 2.0
"""What a power of two may have of the bytes in it."""


def waiting_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Return the bytes of main memory that one process needs for what waits there."""
    return paged_states(recipe) + _offloaded(shape, recipe)


def waiting_limit(machine: Machine) -> float:
    """Return the bytes of main memory in which tensors of all processes may wait."""
    return HOST_SHARE * machine.memory_free_bytes


def _offloaded(shape: ModelShape, recipe: Recipe) -> float:
    if not recipe.offloads:
        return 0.0
    if recipe.checkpointing == "none":
        saved = saved_activations(shape, replace(recipe, offloads=False))
        return saved * STORED_AGAIN * MOST_ROUNDING
    each = waiting_per_token(shape, recipe) * recipe.tokens  # the input of a layer is one tensor
    return float(shape.layers * 2.0 ** math.ceil(math.log2(max(1.0, each))))
