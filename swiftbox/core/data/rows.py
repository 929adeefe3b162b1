"""From encoded rows to what is trained on: cut, counted, held out, packed, ordered."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from swiftbox.core.data.samples import Row, Sample
from swiftbox.core.data.storage import Part, Stored
from swiftbox.errors import DataError
from swiftbox.language import text

PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Fitted:
    """Rows that fit max_length, and the count of all that was changed to make them fit."""

    rows: Part
    cut: int
    dropped: int
    nothing_to_learn: int
    percentiles: dict[str, int]
    tokens: int
    trained_tokens: int


def fit(samples: Stored, *, max_length: int, truncation: str) -> Fitted:
    """Cut, drop or refuse the rows longer than max_length; leave out those that teach nothing."""
    count, lengths = len(samples), samples.lengths
    too_long = lengths > max_length  # (N,)
    longer = int(too_long.sum())
    if longer and truncation == "error":
        raise DataError(
            text(
                f"{longer} of {count} rows are longer than max_length {max_length} "
                f"(the longest has {lengths.max()} tokens)",
                f"{count} 行中有 {longer} 行超过 max_length {max_length}"
                f"（最长 {lengths.max()} 个 token）",
            ),
            hint=text(
                "raise max_length, or set truncation: right or drop",
                "增大 max_length，或设 truncation: right 或 drop",
            ),
        )
    teaches, tokens, trained = samples.teaches.copy(), samples.tokens, samples.trained.copy()
    if truncation == "right":
        tokens = tokens.copy()
        for at in np.flatnonzero(too_long):
            short = samples[int(at)].cut(max_length)
            teaches[at] = short.teaches
            tokens[at], trained[at] = sum(map(len, short.rows)), short.trained
    else:
        teaches &= ~too_long
    kept = np.flatnonzero(teaches)  # places
    if not len(kept):
        raise DataError(
            text(
                f"none of {count} rows has a token to learn within max_length {max_length}",
                f"在 max_length {max_length} 之内，{count} 行中没有可学习的 token",
            ),
            hint=text("raise max_length", "增大 max_length"),
        )
    return Fitted(
        rows=Part(samples, kept, max_length),
        cut=longer if truncation == "right" else 0,
        dropped=longer if truncation == "drop" else 0,
        nothing_to_learn=count - len(kept) - (longer if truncation == "drop" else 0),
        percentiles={f"p{one}": int(np.percentile(lengths, one)) for one in PERCENTILES},
        tokens=int(tokens[kept].sum()),
        trained_tokens=int(trained[kept].sum()),
    )


def hold_out(rows: Part, val_size: float, seed: int) -> tuple[Part, Part]:
    """Split off rows for evaluation: a share below 1, or a number of rows."""
    if val_size == 0:
        return rows, rows.take(rows.places[:0])
    wanted = round(val_size * len(rows)) if val_size < 1 else int(val_size)
    wanted = max(1, wanted)
    if wanted >= len(rows):
        raise DataError(
            text(
                f"val_size: {wanted} rows held out of {len(rows)} leave nothing to train on",
                f"val_size：从 {len(rows)} 行中留出 {wanted} 行后没有可训练的数据",
            ),
            hint=text("lower val_size", "减小 val_size"),
        )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    held = np.zeros(len(rows), dtype=np.bool_)
    held[order[:wanted]] = True
    return rows.take(rows.places[~held]), rows.take(rows.places[held])


def pack(rows: Sequence[Row], max_length: int) -> list[list[Row]]:
    """Fill bins of max_length tokens, best fit, longest first; every row is in exactly one bin."""
    bins: list[list[Row]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    for row in sorted(rows, key=len, reverse=True):
        at = bisect.bisect_left(room, (len(row), -1))
        if at == len(room):
            bins.append([row])
            left, target = max_length - len(row), len(bins) - 1
        else:
            left, target = room.pop(at)
            bins[target].append(row)
            left -= len(row)
        if left > 1:
            bisect.insort(room, (left, target))
    return bins


class Units(Dataset):
    """What one place of a batch holds: one row, or with packing several."""

    def __init__(self, units: Sequence[Sequence[Sample]]) -> None:
        self.units = units

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> Sequence[Sample]:
        return self.units[index]


class Singles(Sequence[Sequence[Sample]]):
    """Every sample as a unit of one."""

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
            return Singles(self.samples[index])
        return [self.samples[index]]


class EpochSampler(Sampler):
    """A random order that depends on the seed and the epoch alone, so that resume repeats it."""

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
    """Return the rows of the first samples as segments of text, each marked learned or not."""
    shown = []
    for row in (row for sample in rows[:count] for row in sample.rows):
        learned = row.labels != -100
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
