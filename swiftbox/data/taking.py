"""How often each row of a source is taken: all rows, a seeded sample, some several times."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from swiftbox.data.source import RowSource

Origin = tuple[str, int]
"""The file and line an example comes from."""


@dataclass(frozen=True)
class Taking:
    """Of `good` rows `kept` are drawn; each is taken `whole` times, `part` of them once more.

    Which ones follows from the seed alone, and no list of them is held in memory.
    """

    good: int
    kept: int
    whole: int
    part: int
    seed: int

    @property
    def total(self) -> int:
        """Count the rows that are taken, repeated ones as often as they are."""
        return self.kept * self.whole + self.part

    @property
    def passes(self) -> int:
        """Count the passes over the files; each gives a row at most once."""
        return self.whole + (1 if self.part else 0)

    def picked(self, number: int) -> Iterator[bool]:
        """Tell of each good row in its order whether pass `number` (from 0) takes it."""
        drawn = _drawn(self.good, self.kept, random.Random(self.seed))
        if number < self.whole:
            yield from drawn
            return
        again = _drawn(self.kept, self.part, random.Random(f"{self.seed} once more"))
        for one in drawn:
            yield one and next(again)


def taking_of(source: RowSource, good: int, seed: int) -> Taking:
    """Return what a source with so many good rows gives; a row at least where there are any."""
    kept = good if source.num_samples is None else min(good, source.num_samples)
    weight = 1.0 if source.weight is None else source.weight
    whole = int(weight)
    part = round(kept * (weight - whole))
    if kept and not whole and not part:
        part = 1
    return Taking(good, kept, whole, part, seed)


def is_known(source: RowSource) -> bool:
    """Tell whether every row is taken equally often, however many there are."""
    return source.num_samples is None and (source.weight is None or source.weight.is_integer())


def _drawn(size: int, count: int, chance: random.Random) -> Iterator[bool]:
    """Draw `count` of `size`, each as likely (selection sampling, Knuth TAOCP 3.4.2, S)."""
    for left in range(size, 0, -1):
        taken = chance.random() * left < count
        count -= taken
        yield taken
