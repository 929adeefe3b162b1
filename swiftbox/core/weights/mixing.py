"""The formulas of mixing, on the changes of one weight; those of papers are peft's functions.

A weight w_i scales the change d_i of a part from the base:
linear: sum of w_i d_i (arXiv:2212.04089). ties: of the largest values of each d_i, those whose sign
the sum of the changes has, averaged as w_i d_i over their number (arXiv:2306.01708). dare: values
kept at random and divided by the density, then as linear or ties (arXiv:2311.03099).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft.utils import merge_utils

NEARLY_PARALLEL = 0.9995
"""Above this cosine the arc of slerp is a straight line to float32."""


BLOCK = 2**22


@dataclass(frozen=True)
class MixRule:
    """How changes are mixed."""

    method: str
    shares: tuple[float, ...]
    density: float = 1.0
    seed: int = 0

    def changes(
        self, name: str, deltas: Sequence[torch.Tensor], parts: Sequence[int]
    ) -> torch.Tensor:
        """Return the mixed change of a weight.

        Args:
            name: The weight, which with the seed decides what is dropped.
            deltas: Changes in float32, of one shape.
            parts: Of which part each of them is.
        """
        weights = torch.tensor([self.shares[part] for part in parts])
        changes = list(deltas)
        if self.method == "linear":
            return merge_utils.task_arithmetic(changes, weights)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The density")
            torch.manual_seed(_seed_of(self.seed, name))
            mixed: torch.Tensor = FORMULAS[self.method](changes, weights, self.density)
        return mixed

    def values(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the mix of the weights themselves, for linear with shares of 1 and slerp."""
        if self.method == "slerp":
            return slerp(tensors[0], tensors[1], self.shares[1])
        return merge_utils.task_arithmetic(list(tensors), torch.tensor(self.shares))


FORMULAS = {
    "ties": merge_utils.ties,
    "dare_linear": merge_utils.dare_linear,
    "dare_ties": merge_utils.dare_ties,
}


def _seed_of(seed: int, name: str) -> int:
    """Return the seed of one weight: its random numbers do not depend on the order."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def slerp(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Return the point at a share of the arc between the directions of two weights."""
    norms = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in (first, second)]
    scale = float(norms[0] * norms[1])
    cosine = _product(first, second) / scale if scale else 1.0
    if abs(cosine) > NEARLY_PARALLEL:
        return (1 - share) * first + share * second
    angle = math.acos(cosine)
    near, far = math.sin((1 - share) * angle), math.sin(share * angle)
    return (near * first + far * second) / math.sin(angle)


def _product(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the inner product in float64, of blocks: copies of embeddings would take gigabytes."""
    pairs = zip(first.flatten().split(BLOCK), second.flatten().split(BLOCK), strict=True)
    return float(sum(left.double() @ right.double() for left, right in pairs))
