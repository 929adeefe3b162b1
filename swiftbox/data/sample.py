"""Which examples of a source are given on: all as they come, or a seeded sample, or several times.

A source with num_samples gives a sample: every example has the same chance (reservoir sampling,
Vitter 1985, algorithm R). A weight gives every example so many times, a fraction by a draw. The
same seed and the same examples give the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from swiftbox.data.example import Example
from swiftbox.data.source import Source

Origin = tuple[str, int]
"""The file and line an example comes from."""

Deliver = Callable[[Example, Origin], None]
"""Take an example that was read."""


@dataclass(frozen=True)
class Giving:
    """Who takes examples, and the seed of all draws."""

    deliver: Deliver
    seed: int

    def sample(self, source: Source) -> Sample:
        """Return what chooses among the examples of one source."""
        return Sample(source.num_samples, self.seed, self.deliver, source.weight or 1.0)


class Sample:
    """Take in the examples of a source one by one; give on those that are chosen."""

    def __init__(self, count: int | None, seed: int, deliver: Deliver, weight: float = 1.0) -> None:
        self.count = count
        self.seen = 0
        self.deliver = deliver
        self.weight = weight
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Example, Origin]] = []

    def add(self, example: Example, origin: Origin) -> None:
        """Take in the next example."""
        self.seen += 1
        if self.count is None:
            self._give(example, origin)
            return
        one = (self.seen, example, origin)
        if len(self._kept) < self.count:
            self._kept.append(one)
            return
        place = self._random.randrange(self.seen)
        if place < self.count:
            self._kept[place] = one

    def finish(self) -> None:
        """Give on what was kept until the end, in the order of the files."""
        for _, example, origin in sorted(self._kept, key=lambda one: one[0]):
            self._give(example, origin)
        self._kept.clear()

    def _give(self, example: Example, origin: Origin) -> None:
        copies = int(self.weight)
        part = self.weight - copies
        if part and self._random.random() < part:
            copies += 1
        for _ in range(copies):
            self.deliver(example, origin)
