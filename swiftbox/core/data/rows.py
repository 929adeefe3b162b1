"""Fit encoded rows to max_length, split them, pack them, and order them. Shapes: N rows."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from swiftbox.core.data.samples import IGNORED, Sample, TokenRow, TurnRows, computed_tokens
from swiftbox.core.data.storage import SampleSubset, StoredSamples, turns_of
from swiftbox.data.fitting import (
    held_out_rows,
    nothing_within,
    require_training_rows,
    rows_too_long,
)

PERCENTILES = (50, 90, 99, 100)

PackedSample = TypeVar("PackedSample", bound=TokenRow | TurnRows)

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class FittedRows:
    """The rows that fit max_length, and what was changed to make them fit."""

    rows: SampleSubset
    cut: int
    dropped: int
    nothing_to_learn: int
    percentiles: dict[str, int]
    tokens: int
    trained_tokens: int
    turns: dict[str, int] | None = None
    """Of conversations with a row for each turn: their number, that of their rows, the tokens of
    the rows, and the tokens where what rows share is computed once."""


def fit(samples: StoredSamples, *, max_length: int, truncation: str) -> FittedRows:
    """Truncate, drop or refuse rows longer than max_length; leave out rows without labels."""
    count, lengths = len(samples), samples.lengths
    too_long = lengths > max_length  # (N,)
    longer = int(too_long.sum())
    if longer and truncation == "error":
        raise rows_too_long(longer, count, int(lengths.max()), max_length)
    teaches, tokens, trained = samples.teaches.copy(), samples.tokens, samples.trained.copy()
    computed, turns = samples.computed, samples.turns
    if truncation == "right":
        tokens, computed, turns = tokens.copy(), computed.copy(), turns.copy()
        for index in np.flatnonzero(too_long):
            short = samples[int(index)].truncated(max_length)
            teaches[index] = short.teaches
            tokens[index], trained[index] = sum(map(len, short.rows)), short.trained
            computed[index] = computed_tokens(short, shares=True)
            turns[index] = turns_of(short)
    else:
        teaches &= ~too_long
    usable = np.flatnonzero(teaches)  # indices
    if not len(usable):
        raise nothing_within(count, max_length)
    return FittedRows(
        rows=SampleSubset(samples, usable, max_length),
        cut=longer if truncation == "right" else 0,
        dropped=longer if truncation == "drop" else 0,
        nothing_to_learn=count - len(usable) - (longer if truncation == "drop" else 0),
        percentiles={f"p{rank}": int(np.percentile(lengths, rank)) for rank in PERCENTILES},
        tokens=int(tokens[usable].sum()),
        trained_tokens=int(trained[usable].sum()),
        turns=_turn_counts(turns[usable], tokens[usable], computed[usable]),
    )


def _turn_counts(turns: Counts, tokens: Counts, computed: Counts) -> dict[str, int] | None:
    """Return the counts of conversations with a row for each turn; None if there are none."""
    chosen = turns > 0
    if not chosen.any():
        return None
    return {
        "conversations": int(chosen.sum()),
        "rows": int(turns[chosen].sum()),
        "tokens": int(tokens[chosen].sum()),
        "computed": int(computed[chosen].sum()),
    }


def hold_out(rows: SampleSubset, val_size: float, seed: int) -> tuple[SampleSubset, SampleSubset]:
    """Split off rows for evaluation: a fraction if below 1, otherwise a number of rows."""
    if val_size == 0:
        return rows, rows.take(rows.indices[:0])
    require_training_rows(val_size, len(rows))
    count = held_out_rows(val_size, len(rows))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = np.zeros(len(rows), dtype=np.bool_)  # (N,)
    held_out[order[:count]] = True
    return rows.take(rows.indices[~held_out]), rows.take(rows.indices[held_out])


def pack(
    rows: Sequence[PackedSample], max_length: int, *, shares: bool = False
) -> list[list[PackedSample]]:
    """Pack rows into bins of max_length tokens (best fit decreasing); each row is in one bin.

    A conversation stays together; with `shares`, what its rows have in common counts once.
    """
    sizes = [computed_tokens(row, shares=shares) for row in rows]
    bins: list[list[PackedSample]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    for index in sorted(range(len(rows)), key=lambda index: -sizes[index]):
        row, size = rows[index], sizes[index]
        position = bisect.bisect_left(room, (size, -1))
        if position == len(room):
            bins.append([row])
            remaining, target = max_length - size, len(bins) - 1
        else:
            remaining, target = room.pop(position)
            bins[target].append(row)
            remaining -= size
        if remaining > 1:
            bisect.insort(room, (remaining, target))
    return bins


def unit_tokens(unit: Sequence[Sample]) -> int:
    """Count the tokens of all rows of a unit."""
    return sum(len(row) for sample in unit for row in sample.rows)


class UnitDataset(Dataset):
    """A dataset of units; a unit is a single sample or, with packing, several rows."""

    def __init__(self, units: Sequence[Sequence[Sample]]) -> None:
        self.units = units

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> Sequence[Sample]:
        return self.units[index]

    def longest(self) -> int:
        """Return the number of tokens of the longest unit, or slightly more after truncation."""
        if isinstance(self.units, TurnUnits):
            return self.units.longest
        samples = getattr(self.units, "samples", None)
        if not isinstance(samples, SampleSubset):
            return max(map(unit_tokens, self.units), default=0)
        if not len(samples):
            return 0
        limit = samples.max_length * len(samples[0].rows)
        return min(limit, int(samples.samples.tokens[samples.indices].max()))


class SingleUnits(Sequence[Sequence[Sample]]):
    """Presents each sample as a unit."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Sequence[Sample]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[Sample]]: ...
    def __getitem__(self, index: int | slice) -> Sequence[Any]:
        if isinstance(index, slice):
            return SingleUnits(self.samples[index])
        return [self.samples[index]]


class TurnUnits(Sequence[Sequence[Sample]]):
    """Presents samples as units, and long conversations with a row for each turn as several.

    The tokens that a unit computes stay within max_length, as those of a row without turns do. With
    `shares`, what the rows of a unit have in common counts once.
    """

    def __init__(self, samples: Sequence[Sample], max_length: int, *, shares: bool) -> None:
        self.samples = samples
        self.max_length = max_length
        self.shares = shares
        self.longest = 0
        """The most tokens of a unit's rows."""
        self.places: list[tuple[int, int]] = []
        """The sample of each unit, and the number of the unit among those of the sample."""
        sizes, tokens = _sizes(samples, shares=shares)
        for index, size in enumerate(sizes):
            pieces = self._pieces(samples[index]) if size > max_length else ()
            self.places += [(index, number) for number in range(max(1, len(pieces)))]
            longest = max((unit_tokens([piece]) for piece in pieces), default=tokens[index])
            self.longest = max(self.longest, longest)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sequence[Sample]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[Sample]]: ...
    def __getitem__(self, index: int | slice) -> Sequence[Any]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place, number = self.places[index]
        return [self._pieces(self.samples[place])[number]]

    def _pieces(self, sample: Sample) -> Sequence[Sample]:
        if not isinstance(sample, TurnRows):
            return [sample]
        return sample.pieces(self.max_length, shares=self.shares)


def _sizes(samples: Sequence[Sample], *, shares: bool) -> tuple[list[int], list[int]]:
    """Return the tokens that each sample computes, and those of its rows; before truncation."""
    if isinstance(samples, SampleSubset):
        stored, indices = samples.samples, samples.indices
        tokens = stored.tokens[indices].tolist()
        return (stored.computed[indices].tolist() if shares else tokens), tokens
    sizes = [computed_tokens(sample, shares=shares) for sample in samples]
    return sizes, [unit_tokens([sample]) for sample in samples]


def has_turn_rows(samples: Sequence[Sample]) -> bool:
    """Whether any sample is a conversation with a row for each turn."""
    if isinstance(samples, SampleSubset):
        return bool(samples.samples.turns[samples.indices].any())
    return any(isinstance(sample, TurnRows) for sample in samples)


class EpochSampler(Sampler):
    """A random order that depends only on the seed and the epoch, so that resuming repeats it."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        yield from torch.randperm(self.size, generator=generator).tolist()

    def __len__(self) -> int:
        return self.size


def preview(rows: Sequence[Sample], tokenizer: Any, count: int = 3) -> list[list[dict[str, Any]]]:
    """Return the rows of the first samples as segments of text, learned and not learned."""
    shown = []
    for row in (row for sample in rows[:count] for row in sample.rows):
        learned = row.labels != IGNORED
        edges = [0, *(np.flatnonzero(np.diff(learned)) + 1).tolist(), len(row)]
        shown.append(
            [
                {
                    "text": tokenizer.decode(row.input_ids[start:end].tolist()),
                    "learned": bool(learned[start]),
                }
                for start, end in pairwise(edges)
                if end > start
            ]
        )
    return shown
