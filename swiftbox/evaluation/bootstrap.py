"""Intervals of scores that are no means, by resampling rows (Koehn 2004). Shapes: N rows, S sums.

The draws are the same for all candidates and in every run, so a report can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swiftbox.evaluation.intervals import ALPHA, Difference, Interval

RESAMPLES = 1000

Score = Callable[[Sequence[float]], float]
"""Computes a score from the sums of S counts."""


def resampled(counts: Sequence[Sequence[float]], score: Score) -> list[float]:
    """Return the scores of RESAMPLES draws of N rows with replacement.  # counts: (N, S)"""
    import numpy as np

    rows = np.asarray(counts, dtype=np.float64)  # (N, S)
    count = len(rows)
    draws = np.random.default_rng(count).multinomial(count, [1 / count] * count, RESAMPLES)
    return [score(sums.tolist()) for sums in draws @ rows]  # (RESAMPLES, S)


def interval(value: float, draws: Sequence[float]) -> Interval:
    """Return the percentile interval around a value."""
    ordered = sorted(draws)
    outside = round(ALPHA / 2 * len(ordered))
    return Interval(value, ordered[outside], ordered[-1 - outside])


def paired(
    values: tuple[float, float], first: Sequence[float], second: Sequence[float]
) -> Difference:
    """Return the second score minus the first, on the same draws of rows."""
    apart = [after - before for before, after in zip(first, second, strict=True)]
    between = interval(values[1] - values[0], apart)
    below = sum(value <= 0 for value in apart) + 1
    above = sum(value >= 0 for value in apart) + 1
    p_value = min(1.0, 2 * min(below, above) / (len(apart) + 1))
    return Difference(between, p_value, 0, 0, "bootstrap")
