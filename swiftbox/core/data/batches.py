"""From rows to a batch, joined or padded. Shapes: B rows, L lines, T tokens of a line, M learned.

A joined batch holds lines of whole rows whose `position_ids` start again at every row. Without an
attention mask and without a cache, transformers then keeps the rows apart: a block-diagonal mask
in sdpa and eager, variable-length kernels in flash attention. Masked attention costs T x T, so
there the lines are short and of one length (SHORT_LINE, or the longest row); flash attention
takes the whole batch as one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import IGNORED, Row

ONE_LINE, LINES, SHARED, PADDED = "one line", "lines", "lines with shared prompts", "padded"

SHORT_LINE = 512
"""Tokens of a line at which masked attention is still cheap beside a layer's matrices."""


def collate_rows(units: Sequence[Sequence[Row]], layout: str) -> dict[str, Any]:
    """Join the rows of the units to one batch in the layout named."""
    rows = [row for unit in units for row in unit]
    if layout == PADDED:
        return padded_batch(rows)
    if layout == ONE_LINE:
        return joined_batch([rows])
    return joined_batch([[rows[at] for at in line] for line in balanced([len(r) for r in rows])])


def balanced(lengths: Sequence[int]) -> list[list[int]]:
    """Share places out to lines of about SHORT_LINE tokens and nearly equal length."""
    count = max(1, round(sum(lengths) / max(SHORT_LINE, *lengths)))
    lines: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    # Longest first: the ends come out even.
    for place in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        shortest = filled.index(min(filled))
        lines[shortest].append(place)
        filled[shortest] += lengths[place]
    return [line for line in lines if line]


def joined_batch(lines: Sequence[Sequence[Row]]) -> dict[str, torch.Tensor]:
    """Join the rows of each line end to end; the rest of a line is a row that teaches nothing."""
    longest = max(sum(len(row) for row in line) for line in lines)
    input_ids = np.zeros((len(lines), longest), dtype=np.int64)  # (L, T)
    positions = np.zeros((len(lines), longest), dtype=np.int64)  # (L, T)
    labels = np.full((len(lines), longest), IGNORED, dtype=np.int64)  # (L, T)
    for number, line in enumerate(lines):
        at = 0
        for row in line:
            end = at + len(row)
            input_ids[number, at:end] = row.input_ids
            positions[number, at:end] = np.arange(len(row))
            labels[number, at + 1 : end] = row.labels[1:]  # nothing predicts a row's first token
            at = end
        positions[number, at:] = np.arange(longest - at)
    return {
        "input_ids": torch.from_numpy(input_ids),
        "position_ids": torch.from_numpy(positions),
        "labels": torch.from_numpy(labels),
    }


def padded_batch(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Pad rows on the right to the longest; the pad token is 0 and never looked at."""
    longest = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)  # (B, T)
    labels = torch.full((len(rows), longest), IGNORED)  # (B, T)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)  # (B, T)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.from_numpy(row.input_ids.astype(np.int64))
        labels[index, 1 : len(row)] = torch.from_numpy(row.labels[1:].astype(np.int64))
        mask[index, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
