"""Pairs whose prompt is computed once: the mask of a line of pairs, and when it pays.

Shapes: L lines, T tokens of a line, N rows, S keys. A prefix group is one sequence, or two that
share their first tokens: prompt, first answer, second answer. Both answers attend to the prompt but
not to each other (tree attention, as in SpecInfer, arXiv:2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import balanced_lines, row_bounds
from swiftbox.core.data.samples import PreferencePair

MASKED_TOKENS = 4096
"""Line length at which masked attention costs as much as a layer's matrices.

Of the order that a CPU shows at hidden sizes of 1,000 to 2,000: 4,000 to 9,000.
"""

CAUSAL_TOKENS = 16_384
"""The same for causal attention without a mask: half of the products, by faster kernels."""


@dataclass(frozen=True)
class GroupSpan:
    """Where a prefix group lies in its line: start, end of the prompt, of each answer."""

    start: int
    prompt_end: int
    first_end: int
    end: int


def tree_mask(spans: Sequence[Sequence[GroupSpan]], length: int) -> Any:
    """Return which token (row) attends to which (column): the earlier ones on its own branch.

    Takes the groups of each line; the rest of a line becomes a group without answers. Only the
    blocks of the groups are written.  # (L,1,T,T) bool
    """
    mask = np.zeros((len(spans), 1, length, length), dtype=np.bool_)
    for line, groups in enumerate(spans):
        end = groups[-1].end if groups else 0
        rest = GroupSpan(end, end, length, length)
        for group in (*groups, rest):
            square = mask[line, 0, group.start : group.end, group.start : group.end]
            square[...] = triangle(group.end - group.start)
            mask[line, 0, group.first_end : group.end, group.prompt_end : group.first_end] = False
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


def shared_bounds(groups: Sequence[GroupSpan]) -> dict[str, Any]:
    """Return the bounds of the rows of a line, where second answers repeat their prompt's keys.

    The first row of a group is its prompt and first answer. The second answer is a row of its
    queries only; its keys are the prompt's and its own. `key_indices` lists the keys of all rows;
    it is left out if no prompt is shared.  # (S,)
    """
    queries, keys, indices = [], [], []
    for group in groups:
        for start, end, prompt in (
            (group.start, group.first_end, 0),
            (group.first_end, group.end, group.prompt_end - group.start),
        ):
            if end == start:
                continue
            queries.append(end - start)
            keys.append(prompt + end - start)
            indices.append(np.arange(group.start, group.start + prompt))
            indices.append(np.arange(start, end))
    bounds = row_bounds(queries, keys)
    if sum(keys) > sum(queries):
        bounds["key_indices"] = torch.from_numpy(np.concatenate(indices).astype(np.int64))
    return bounds


def sharing_pays(pairs: Sequence[PreferencePair]) -> bool:
    """Whether lines with shared prompts and a mask cost less than lines of separate answers."""
    together = [sum(map(len, pair.rows)) - pair.shared for pair in pairs]
    apart = [len(row) for pair in pairs for row in pair.rows]
    return line_cost(together, masked=True) < line_cost(apart)


def line_cost(lengths: Sequence[int], *, masked: bool = False) -> float:
    """Return the cost of rows in balanced lines, in tokens through a layer's matrices.

    Lines of a single row need no mask, unless they are `masked` for another reason.
    """
    lines = balanced_lines(lengths)
    longest = max(sum(lengths[index] for index in line) for line in lines)
    masked = masked or any(len(line) > 1 for line in lines)
    return len(lines) * (longest + longest**2 / (MASKED_TOKENS if masked else CAUSAL_TOKENS))
