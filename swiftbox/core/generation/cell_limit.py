"""How many cells the caches may have: fewer once memory ran out, and slowly more after that."""

from __future__ import annotations

SHRINK = 0.75
"""What remains of the cells in use after memory ran out."""

GROWTH_PART = 8
"""A raise adds this part of the limit."""

FIRST_WAIT, LONGEST_WAIT = 128, 8192
"""Steps before a raise. The number doubles each time that memory runs out."""


class CellLimit:
    """The limit of cells, which follows what the device proves to have space for."""

    def __init__(self, configured: int) -> None:
        self.configured = configured
        self.cells = configured
        self._wait = FIRST_WAIT
        self._steps = 0

    def lower(self, used: int) -> None:
        """Lower the limit below the cells that were in use when memory ran out."""
        self.cells = max(1, int(min(used or self.cells, self.cells) * SHRINK))
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._steps = 0

    def succeed(self) -> None:
        """Count a step that had enough memory; after many of them raise the limit."""
        if self.cells == self.configured:
            return
        self._steps += 1
        if self._steps >= self._wait:
            self._steps = 0
            self.cells = min(self.configured, self.cells + max(1, self.cells // GROWTH_PART))
