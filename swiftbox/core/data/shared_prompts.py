"""Rows that begin alike, computed once: the mask and the bounds of a line, and when it pays.

Shapes: L lines, T tokens of a line, N rows, S keys. The rows of a sample form a tree: each has the
first tokens of an earlier one, and then its branch. A line holds the branches. A token attends to
those before it on the way from its branch to the root, not to other branches (tree attention, as
in SpecInfer, arXiv:2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import balanced_lines, row_bounds
from swiftbox.core.data.samples import Sample, computed_tokens

MASKED_TOKENS = 4096
"""Line length at which masked attention costs as much as a layer's matrices.

Of the order that a CPU shows at hidden sizes of 1,000 to 2,000: 4,000 to 9,000.
"""

CAUSAL_TOKENS = 16_384
"""The same for causal attention without a mask: half of the products, by faster kernels."""


Slices = tuple[tuple[int, int], ...]
"""Start and end of parts of a line, in the order of a row's tokens."""


@dataclass(frozen=True)
class Branch:
    """Where the tokens of a row lie in its line that no earlier row has."""

    start: int
    end: int
    prefix: Slices = ()
    """Where the row's tokens before them lie, which belong to earlier rows."""

    @property
    def path(self) -> Slices:
        """Return where all tokens of the row lie."""
        return joined_slices((*self.prefix, (self.start, self.end)))


def joined_slices(slices: Slices) -> Slices:
    """Join slices that follow each other; leave out empty ones."""
    joined: list[tuple[int, int]] = []
    for start, end in slices:
        if start == end:
            continue
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def first_tokens(path: Slices, count: int) -> Slices:
    """Return where the first tokens of a row lie."""
    parts = []
    for start, end in path:
        taken = min(count, end - start)
        parts.append((start, start + taken))
        count -= taken
    return joined_slices(tuple(parts))


def columns_of(path: Slices) -> Any:
    """Return the places of tokens in their line.  # (t,) int64"""
    return np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in path)])


def tree_mask(lines: Sequence[Sequence[Branch]], length: int) -> Any:
    """Return which token (row) attends to which (column): the earlier ones of its row.

    Takes the branches of each line; the rest of a line becomes a row.  # (L,1,T,T) bool
    """
    mask = np.zeros((len(lines), 1, length, length), dtype=np.bool_)
    for line, branches in enumerate(lines):
        end = branches[-1].end if branches else 0
        for branch in (*branches, Branch(end, length)):
            tokens = mask[line, 0, branch.start : branch.end]
            tokens[:, branch.start : branch.end] = triangle(branch.end - branch.start)
            for start, stop in branch.prefix:
                tokens[:, start:stop] = True
    return mask


def triangle(size: int) -> Any:
    """Return a lower triangle as a view of one short row, so that it is copied, not computed.

    # (size,size) bool
    """
    ones_then_zeros = np.zeros(max(0, 2 * size - 1), dtype=np.bool_)
    ones_then_zeros[:size] = True
    if not size:
        return ones_then_zeros.reshape(0, 0)
    return np.lib.stride_tricks.sliding_window_view(ones_then_zeros, size)[::-1]


def shared_bounds(branches: Sequence[Branch]) -> dict[str, Any]:
    """Return the bounds of the rows of a line, where branches repeat the keys of their prefix.

    A row has the queries of its branch, and the keys of its prefix and its branch. `key_indices`
    lists the keys of all rows; it is left out if no prefix is shared.  # (S,)
    """
    branches = [branch for branch in branches if branch.start < branch.end]
    queries = [branch.end - branch.start for branch in branches]
    indices = [columns_of(branch.path) for branch in branches]
    keys = list(map(len, indices))
    bounds = row_bounds(queries, keys)
    if sum(keys) > sum(queries):
        bounds["key_indices"] = torch.from_numpy(np.concatenate(indices).astype(np.int64))
    return bounds


def sharing_pays(samples: Sequence[Sample]) -> bool:
    """Whether lines with shared prefixes and a mask cost less than lines of separate rows."""
    together = [computed_tokens(sample, shares=True) for sample in samples]
    apart = [len(row) for sample in samples for row in sample.rows]
    return line_cost(together, masked=True) < line_cost(apart)


def line_cost(lengths: Sequence[int], *, masked: bool = False) -> float:
    """Return the cost of rows in balanced lines, in tokens through a layer's matrices.

    Lines of a single row need no mask, unless they are `masked` for another reason.
    """
    lines = balanced_lines(lengths)
    longest = max(sum(lengths[index] for index in line) for line in lines)
    masked = masked or any(len(line) > 1 for line in lines)
    return len(lines) * (longest + longest**2 / (MASKED_TOKENS if masked else CAUSAL_TOKENS))
