"""How often each row of a source is taken: once, several times, or in a seeded sample."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from swiftbox.data.source import RowSource

Origin = tuple[str, int]
"""The file and line that an example comes from."""


@dataclass(frozen=True)
class RowSampling:
    """Draws `drawn` of `good` rows; takes each `repeats` times, and `extra` of them once more.

    The choice follows from the seed alone; no list of rows is held in memory.
    """

    good: int
    drawn: int
    repeats: int
    extra: int
    seed: int

    @property
    def total(self) -> int:
        """Return the number of rows taken, repeated ones counted as often as they are taken."""
        return self.drawn * self.repeats + self.extra

    @property
    def passes(self) -> int:
        """Return the number of passes over the files; each takes a row at most once."""
        return self.repeats + (1 if self.extra else 0)

    def choices(self, number: int) -> Iterator[bool]:
        """Yield for each good row, in order, whether pass `number` (from 0) takes it."""
        drawn = _draw(self.good, self.drawn, random.Random(self.seed))
        if number < self.repeats:
            yield from drawn
            return
        extra = _draw(self.drawn, self.extra, random.Random(f"{self.seed} once more"))
        for is_drawn in drawn:
            yield is_drawn and next(extra)


def sampling_of(source: RowSource, good: int, seed: int) -> RowSampling:
    """Return the sampling of a source with this many good rows; it takes at least one of any."""
    drawn = good if source.num_samples is None else min(good, source.num_samples)
    weight = 1.0 if source.weight is None else source.weight
    repeats = int(weight)
    extra = round(drawn * (weight - repeats))
    if drawn and not repeats and not extra:
        extra = 1
    return RowSampling(good, drawn, repeats, extra, seed)


def is_uniform(source: RowSource) -> bool:
    """Return whether every row is taken equally often, however many there are."""
    return source.num_samples is None and (source.weight is None or source.weight.is_integer())


def is_taken_once(source: RowSource) -> bool:
    """Return whether every row is taken once."""
    return source.num_samples is None and source.weight in (None, 1)


def takes_all(source: RowSource) -> bool:
    """Return whether every row is taken at least once."""
    return source.num_samples is None and (source.weight is None or source.weight >= 1)


def _draw(size: int, count: int, chance: random.Random) -> Iterator[bool]:
    """Draw `count` of `size` with equal chances (selection sampling, Knuth TAOCP 3.4.2, S)."""
    for remaining in range(size, 0, -1):
        taken = chance.random() * remaining < count
        count -= taken
        yield taken
