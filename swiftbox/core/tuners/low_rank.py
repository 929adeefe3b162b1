"""Factors of low rank for a change of weights, with the error that was measured.

The best factors of rank R are the R largest singular values with their vectors. Small matrices are
decomposed exactly. For large ones the leading subspace is iterated (arXiv:0909.4061, algorithm
4.4) until a further pass captures no more than PASS_GAIN of what is still lost; a matrix that
does not get there is decomposed exactly too. The error is that of the product, not of the values.
Shapes: E experts (1 for a plain layer), O outputs, I inputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

EXACT_SIZE = 768
"""Up to this many rows or columns an exact decomposition takes less than a second on one core."""

EXACT_SHARE = 4
"""From a quarter of all singular values on, the exact decomposition is the faster one."""

OVERSAMPLING = 16
"""Further directions that are iterated: the last ones converge slowly."""

MAX_PASSES = 24
PASS_GAIN = 1e-3
"""Share of the lost energy. The error of the factors is then within about 0.1 % of the best."""

ROUNDING = 1e-5
"""Float32 sums over thousands of products differ by this share between two orders."""

DTYPE_ROUNDING = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Both factors are rounded: half a unit in the last place each, as a share of the change."""

Deltas = Callable[[], Iterable[torch.Tensor]]
"""Yields the change of each expert, (O, I) in float32; called to decompose, then to measure."""


@dataclass(frozen=True)
class RankRule:
    """How many singular values of a layer are kept."""

    rank: int
    """The rank, or with `energy` the largest that may be chosen."""
    energy: float | None = None
    """The share of the squared norm that is kept with as few values as possible."""

    def choose(self, values: Sequence[torch.Tensor], total: float) -> int:
        """Return the rank for the leading singular values of all experts of a layer."""
        longest = max(len(part) for part in values)
        rank = min(self.rank, longest)
        if self.energy is None or total == 0.0:
            return rank
        squares = torch.zeros(longest, dtype=torch.float64)
        for part in values:
            squares[: len(part)] += part.double() ** 2
        enough = (squares.cumsum(0) >= self.energy * total).nonzero()
        return min(rank, int(enough[0]) + 1) if len(enough) else rank


@dataclass(frozen=True)
class Factors:
    """The factors of a layer: the change is about `outside @ inside`."""

    outside: torch.Tensor  # (E, O, R)
    inside: torch.Tensor  # (E, R, I)
    total: float
    """The squared norm of the change."""
    lost: float
    """The squared norm of what the factors do not have."""

    @property
    def rank(self) -> int:
        """Return R."""
        return int(self.inside.shape[1])


def factorize(deltas: Deltas, rule: RankRule) -> Factors:
    """Return the factors of a layer, of the best rank that the rule allows."""
    total, parts = 0.0, []
    for delta in deltas():
        total += square(delta)
        parts.append(leading(delta, rule.rank))
    rank = rule.choose([values for _, values, _ in parts], total)
    outside, inside = [], []
    for left, values, right in parts:
        root = values[:rank].sqrt()  # both factors of one size, as training leaves them
        outside.append(left[:, :rank] * root)
        inside.append(root[:, None] * right[:rank])
    factors = torch.stack(outside), torch.stack(inside)
    return Factors(*factors, total, lost_energy(deltas(), *factors))


def lost_energy(
    deltas: Iterable[torch.Tensor], outside: torch.Tensor, inside: torch.Tensor
) -> float:
    """Return the squared norm of the changes without the products of their factors."""
    pairs = zip(deltas, outside, inside, strict=True)
    return sum(square(delta - left @ right) for delta, left, right in pairs)


def error_share(lost: float, total: float) -> float:
    """Return the norm of what is lost as a share of the change's, from both squared norms."""
    return (lost / total) ** 0.5 if total else 0.0


def square(matrix: torch.Tensor) -> float:
    """Return the squared Frobenius norm, added up in float64."""
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2


def leading(matrix: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the leading singular vectors and values of (O, I): (O, K), (K,), (K, I)."""
    size = min(matrix.shape)
    count = min(count, size)
    if size > EXACT_SIZE and (count + OVERSAMPLING) * EXACT_SHARE <= size:
        triple = _iterated(matrix, count)
        if triple is not None:
            return triple
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left[:, :count], values[:count], right[:count]


def _iterated(
    matrix: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Return the leading triple by subspace iteration; None if it does not converge."""
    total, captured = square(matrix), 0.0
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], count + OVERSAMPLING, generator=generator)
    basis = torch.linalg.qr(matrix @ start).Q  # (O, K + OVERSAMPLING)
    for _ in range(MAX_PASSES):
        small = basis.T @ matrix  # (K + OVERSAMPLING, I)
        left, values, right = torch.linalg.svd(small, full_matrices=False)
        energy = float((values[:count].double() ** 2).sum())
        if energy - captured <= PASS_GAIN * max(0.0, total - energy):
            return basis @ left[:, :count], values[:count], right[:count]
        captured = energy
        basis = torch.linalg.qr(matrix @ right.T).Q
    return None
