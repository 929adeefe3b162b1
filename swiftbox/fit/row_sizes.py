"""How many tokens the rows of a micro-batch have: the longest for memory, typical ones for time.

Letters: S sequences of a micro-batch; a pair of answers is two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import LengthBand, Lengths

ASSUMED_TOKENS = 400
"""Public instruction datasets have 150 (one short turn) to 1,200 (long chats) tokens a row."""

TOKENIZER_SPREAD = 1.3
"""Rows may have this much more tokens than their bytes suggest: a small vocabulary cuts finer."""


@dataclass(frozen=True)
class RowSizes:
    """The tokens of sequences as a training sees them, cut to max_length."""

    groups: tuple[tuple[float, float], ...]
    """Share and mean tokens of sequences of similar length, the longest first."""
    longest: float
    per_row: int = 1
    """Sequences of a row."""
    shared: float = 0.0
    """Tokens that the two sequences of a row have in common."""
    is_assumed: bool = False
    """Whether the rows are not on this machine yet."""
    bands: tuple[LengthBand, ...] = ()
    """All sequences by length, the longest first; none if they are not known."""

    @property
    def mean(self) -> float:
        """Return the mean tokens of a sequence."""
        return sum(share * tokens for share, tokens in self.groups)

    def typical(self, rows: int) -> float:
        """Return the tokens of a typical micro-batch."""
        return rows * self.per_row * self.mean

    def worst(self, rows: int) -> float:
        """Return the most tokens that a micro-batch may have: those of the longest sequences.

        Where they are not known, all may be as long as the longest.
        """
        sequences = rows * self.per_row
        limit, tokens, remaining = sequences * self.longest, 0.0, sequences
        for band in self.bands:
            count = min(remaining, band.count)
            tokens += min(count * self.longest, TOKENIZER_SPREAD * band.longest(count))
            remaining -= count
        return min(limit, tokens + remaining * self.longest)

    def padded_length(self, rows: int) -> float:
        """Return the expected length of the longest sequence of a micro-batch."""
        sequences, remaining, expected, above = rows * self.per_row, 1.0, 0.0, 0.0
        for share, tokens in self.groups:
            remaining = max(0.0, remaining - share)
            reaches = 1.0 - remaining**sequences  # at least one sequence is this long
            expected += (reaches - above) * tokens
            above = reaches
        return expected


def row_sizes(config: TrainConfig, lengths: Lengths | None) -> RowSizes:
    """Return the sizes of a training's rows; without lengths, usual ones are assumed.

    Rows that are not known, and all rows of a packed training, may be as long as max_length.
    """
    limit, per_row = config.max_length, config.sequences_per_row
    if config.packing:
        return RowSizes(((1.0, float(limit)),), float(limit))
    generated = 0  # they take the place of answers of the data, after any prompt
    if config.samples_answers:
        generated = config.model_dump()["max_completion_length"]
    if lengths is None or not lengths.good_rows:
        typical = min(float(limit), float(ASSUMED_TOKENS))
        longest = float(limit + generated)
        return RowSizes(((1.0, typical),), longest, per_row, is_assumed=True)
    groups = tuple(_groups(config, lengths))
    longest = float(limit)
    if lengths.longest:
        longest = min(longest, math.ceil(TOKENIZER_SPREAD * lengths.longest))
    longest += generated
    is_assumed = not lengths.longest
    shared = lengths.shared / lengths.good_rows if per_row > 1 else 0.0
    mean = sum(share * tokens for share, tokens in groups)
    is_uneven = is_assumed or config.samples_answers or _splits(config, longest)
    bands = () if is_uneven else tuple(lengths.bands())
    return RowSizes(groups, longest, per_row, min(shared, mean), is_assumed, bands)


def _splits(config: TrainConfig, longest: float) -> bool:
    """Whether rows may be split, so that there are more sequences of the full length."""
    return config.splits_long_rows and longest >= config.max_length


def _groups(config: TrainConfig, lengths: Lengths) -> Iterator[tuple[float, float]]:
    """Yield share and mean tokens of sequences, cut or split at max_length, the longest first."""
    counts: list[tuple[float, float]] = []
    for size in sorted(lengths.rows, reverse=True):
        count, mean = lengths.rows[size], lengths.sums[size] / max(1, lengths.rows[size])
        if not count:
            continue
        if mean > config.max_length and config.splits_long_rows:
            count, mean = round(count * mean / config.max_length), float(config.max_length)
        counts.append((count, min(mean, float(config.max_length))))
    total = sum(count for count, _ in counts)
    yield from ((count / total, mean) for count, mean in counts)
