"""How many tokens a batch without gradients may have: what the free memory holds.

The memory of a token is measured on the batches themselves: it depends on the model, the kernels
and the lengths. The first batch is small; each one after it is as large as the last measurement
allows, and half as large if it does not fit all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

FIXED = {"cpu": 4096}
"""Tokens of a batch where larger ones are not faster, so that memory need not be measured."""

FIRST, MOST = 8_192, 131_072
"""Tokens of the first batch on an accelerator, and of the largest: more are not faster."""

SHARE_OF_FREE = 0.6
"""The rest is for longer rows than those measured, and for what the allocator cannot use."""


class TokenBudget:
    """Tokens of the next batch on a device."""

    def __init__(self, device: torch.device) -> None:
        fixed = FIXED.get(device.type)
        self.tokens = fixed or FIRST
        self._most = fixed or MOST
        self._memory = torch.get_device_module(device) if fixed is None else None

    @contextlib.contextmanager
    def measured(self, tokens: int) -> Iterator[None]:
        """Measure the batch that is computed inside the context."""
        before = self._begin()
        yield
        if before is not None and self._memory is not None:
            grown = self._memory.max_memory_allocated() - before
            self.learn(tokens, grown, free_bytes(self._memory))

    def learn(self, tokens: int, grown_bytes: int, free: int) -> None:
        """Set the tokens of the next batch by what this one needed."""
        fitting = int(SHARE_OF_FREE * free * tokens / max(1, grown_bytes))
        self.tokens = max(1, min(self._most, fitting))

    def halve(self, tokens: int) -> None:
        """Keep all later batches at most half as large as one that did not fit."""
        self.tokens = self._most = max(1, tokens // 2)

    def _begin(self) -> int | None:
        """Return the bytes that are allocated now; None if they cannot be measured."""
        reset = getattr(self._memory, "reset_peak_memory_stats", None)
        if self._memory is None or reset is None:
            return None
        reset()
        return int(self._memory.memory_allocated())


def free_bytes(memory: Any) -> int:
    """Return the memory that a device module can still allocate, with its cached blocks."""
    free, _ = memory.mem_get_info()
    return int(free + memory.memory_reserved() - memory.memory_allocated())
