"""Which examples of a source are kept: all, or a seeded sample that holds no more than it gives."""

from __future__ import annotations

import random

from swiftbox.data.example import Example

Origin = tuple[str, int]
"""The file and line an example comes from."""


class Sample:
    """Take in examples one by one; give back all of them, or `count` of them in their order.

    Every example has the same chance (reservoir sampling, Vitter 1985, algorithm R); the same seed
    and the same examples give the same sample.
    """

    def __init__(self, count: int | None, seed: int) -> None:
        self.count = count
        self.seen = 0
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Example, Origin]] = []

    def __len__(self) -> int:
        return self.seen if self.count is None else min(self.seen, self.count)

    def add(self, example: Example, origin: Origin) -> None:
        """Take in the next example."""
        one = (self.seen, example, origin)
        self.seen += 1
        if self.count is None or len(self._kept) < self.count:
            self._kept.append(one)
            return
        place = self._random.randrange(self.seen)
        if place < self.count:
            self._kept[place] = one

    def taken(self) -> tuple[list[Example], list[Origin]]:
        """Return the examples of the sample in their order, and where each comes from."""
        kept = sorted(self._kept, key=lambda one: one[0])
        return [example for _, example, _ in kept], [origin for _, _, origin in kept]
