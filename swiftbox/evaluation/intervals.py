"""Confidence intervals of scores and of differences; closed forms, 95 %. Shapes: N questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: two sides, 95 %."""

ALPHA = 0.05


@dataclass(frozen=True)
class Interval:
    """A value and the 95 % confidence interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The difference of two scores on the same questions: the second minus the first."""

    interval: Interval
    p_value: float
    gained: int
    """Questions on which only the second did better."""
    lost: int
    """Questions on which only the first did better."""
    method: str

    @property
    def is_significant(self) -> bool:
        """Tell whether the difference is significant by both the test and the interval."""
        apart = self.interval.low > 0 or self.interval.high < 0
        return self.p_value < ALPHA and apart


def score(values: Sequence[float]) -> Interval:
    """Return the mean of N scores with its interval: Wilson for binary scores, else normal."""
    if _binary(values):
        return wilson(round(sum(values)), len(values))
    return normal(values)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two scores question by question; both in the same order. (N,), (N,)."""
    if len(first) != len(second) or not first:
        raise ValueError("paired scores must have the same, positive length")
    gained = sum(after > before for before, after in zip(first, second, strict=True))
    lost = sum(after < before for before, after in zip(first, second, strict=True))
    if _binary(first) and _binary(second):
        both = sum(a == b == 1 for a, b in zip(first, second, strict=True))
        table = (both, gained, lost, len(first) - both - gained - lost)
        return Difference(newcombe(*table), mcnemar(gained, lost), gained, lost, "mcnemar")
    apart = normal([after - before for before, after in zip(first, second, strict=True)])
    half = apart.high - apart.value
    sigmas = abs(apart.value) / (half / Z) if half else math.inf * bool(apart.value)
    return Difference(apart, math.erfc(sigmas / math.sqrt(2)), gained, lost, "normal")


def wilson(right: float, count: int) -> Interval:
    """Return the score interval of a share (Wilson 1927; Newcombe 1998, Stat. Med. 17:857).

    Halves, such as ties, may be in `right`: the interval is then wider than needed, never narrower.
    """
    if count < 1:
        raise ValueError("no questions")
    share, square = right / count, Z * Z
    centre = (2 * right + square) / (2 * (count + square))
    half = Z * math.sqrt(square + 4 * right * (1 - share)) / (2 * (count + square))
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == count else min(1.0, centre + half)
    return Interval(share, low, high)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p of McNemar's test (1947): a fair coin for each change."""
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1))
    return float(min(1.0, 2 * tail / 2**changed))


def newcombe(both: int, gained: int, lost: int, neither: int) -> Interval:
    """Return the interval of a difference of paired shares (Newcombe 1998, Stat. Med. 17:2635).

    Method 10 there: the Wilson intervals of both shares, combined with their correlation.
    """
    count = both + gained + lost + neither
    after, before = wilson(both + gained, count), wilson(both + lost, count)
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    cross = float(both * neither - gained * lost)
    if cross > 0:
        cross = max(cross - count / 2, 0.0)
    phi = cross / math.sqrt(product) if product else 0.0
    apart = after.value - before.value

    def combined(first: float, second: float) -> float:
        return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))

    down = combined(after.value - after.low, before.high - before.value)
    up = combined(after.high - after.value, before.value - before.low)
    return Interval(apart, max(-1.0, apart - down), min(1.0, apart + up))


def normal(values: Sequence[float]) -> Interval:
    """Return the mean of any scores, and 1.96 standard errors around it (arXiv:2411.00640)."""
    count = len(values)
    if count < 1:
        raise ValueError("no questions")
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = Z * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)


def _binary(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)
