"""When the next part of a long prompt is read, so that it does not hold up other answers.

A part takes as long as dozens of steps on a CPU. After it, the others have the loop for a multiple
of its time. The parts are the same whatever else is answered: when one is read changes no number.
On a device that computes in its own queue, the time of a part is not seen here: it is about that
of a step, and parts and steps take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from swiftbox.core.generation.device_access import has_graphs

SHORT_PROMPT = 512
"""Tokens that are read at once, a batch of prompts included."""

HOST_PART = 128
"""Tokens of a part of a longer prompt on the host: a tenth of a second per 100 million parameters.
Half of it would take a quarter more time in all."""

OTHERS_SHARE = 2
"""Time for the other answers after a part, as a multiple of its time."""


class ReadingPace:
    """The length of the parts of prompts, and when the next one is read."""

    def __init__(self, device: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._part = SHORT_PROMPT if has_graphs(device) else HOST_PART
        self._clock = clock
        self._until = 0.0

    def part(self, length: int) -> int:
        """Return how many tokens of prompts of that length are read at once."""
        return length if length <= SHORT_PROMPT else self._part

    def may_read(self) -> bool:
        """Return whether the others have had their share of the time."""
        return self._clock() >= self._until

    def run(self, read: Callable[[], Any]) -> Any:
        """Read a part and return its result; the others have their share of the time after it."""
        began = self._clock()
        result = read()
        ended = self._clock()
        self._until = ended + OTHERS_SHARE * (ended - began)
        return result
