"""Collate rows into a batch, joined or padded. Shapes: B rows, L lines, T tokens of a line.

A joined batch holds lines of whole rows whose `position_ids` restart at every row. Without an
attention mask and without a cache, transformers then isolates the rows by a block-diagonal mask in
sdpa and eager. Masked attention costs T x T, so there the lines are short and equally long
(SHORT_LINE, or the longest row); if every line is a single row, no mask is needed. Variable-length
kernels take the batch as a single line, and the bounds of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import IGNORED, TokenRow, TurnRows

ONE_LINE, LINES, PADDED = "one line", "lines", "padded"
RESTARTING_LINES = "restarting lines"
"""Lines whose rest never continues a row, for noise that depends on the length of rows."""

SHARED, SHARED_LINE = "lines with shared prompts", "one line with shared prompts"
"""Layouts of samples whose rows begin alike, which is computed once: with a mask, and with bounds
of rows."""

SHARING = {LINES: SHARED, ONE_LINE: SHARED_LINE}
"""The layout that computes common beginnings once, by that of separate rows."""

SEPARATE = {shared: layout for layout, shared in SHARING.items()}
"""The layout of separate rows, by that which computes common beginnings once."""

WITH_BOUNDS = (ONE_LINE, SHARED_LINE)
"""Layouts for variable-length kernels, which need the bounds of the rows."""

SHORT_LINE = 512
"""Line length at which masked attention is still cheap compared with a layer's matrices."""


def collate_rows(units: Sequence[Sequence[TokenRow | TurnRows]], layout: str) -> dict[str, Any]:
    """Collate the rows of all units into one batch in the given layout.

    Returns input_ids and labels (L,T), what the layout needs, and the weights (L,T) of the learned
    tokens if any row has some.
    """
    rows = [row for unit in units for sample in unit for row in sample.rows]
    layout = SEPARATE.get(layout, layout)
    if layout == PADDED:
        return padded_batch(rows)
    if layout == ONE_LINE:
        return joined_batch([rows]) | row_bounds([len(row) for row in rows])
    lines = [[rows[index] for index in line] for line in balanced_lines([len(row) for row in rows])]
    return joined_batch(lines, continues=layout != RESTARTING_LINES)


def balanced_lines(lengths: Sequence[int]) -> list[list[int]]:
    """Distribute row indices over lines of about SHORT_LINE tokens and nearly equal length."""
    count = max(1, round(sum(lengths) / max(SHORT_LINE, *lengths)))
    lines: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    # Longest first, so that the lines end evenly.
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        shortest = filled.index(min(filled))
        lines[shortest].append(index)
        filled[shortest] += lengths[index]
    return [line for line in lines if line]


def row_bounds(lengths: Sequence[int], key_lengths: Sequence[int] = ()) -> dict[str, Any]:
    """Return where the rows of a line start and how long the longest is, of queries and of keys.

    The names are those of transformers. The lengths are numbers and the starts tensors, so that
    no layer has to wait for the device.  # (N+1,), (N+1,) int32
    """
    bounds: dict[str, Any] = {}
    for name, row_lengths in (("q", lengths), ("k", key_lengths or lengths)):
        starts = np.concatenate([[0], np.cumsum(row_lengths)]).astype(np.int32)
        bounds[f"cu_seq_lens_{name}"] = torch.from_numpy(starts)
        bounds[f"max_length_{name}"] = int(max(row_lengths))
    return bounds


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch to a device, without waiting for those in pinned memory.

    A batch may contain others; numbers stay as they are.
    """
    return {key: _on_device(value, device) for key, value in batch.items()}


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return to_device(value, device)
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=value.is_pinned())
    return value


def joined_batch(
    lines: Sequence[Sequence[TokenRow]], *, continues: bool = True
) -> dict[str, torch.Tensor]:
    """Join the rows of each line end to end; the rest of a line becomes a row without labels.

    With `continues`, if every line is a single row, the rest continues it: the positions then never
    restart, and sdpa is causal without a mask.
    """
    longest = max(sum(len(row) for row in line) for line in lines)
    continues = continues and all(len(line) == 1 for line in lines)
    input_ids = np.zeros((len(lines), longest), dtype=np.int64)  # (L, T)
    positions = np.zeros((len(lines), longest), dtype=np.int64)  # (L, T)
    labels = np.full((len(lines), longest), IGNORED, dtype=np.int64)  # (L, T)
    for number, line in enumerate(lines):
        start = 0
        for row in line:
            end = start + len(row)
            input_ids[number, start:end] = row.input_ids
            positions[number, start:end] = np.arange(len(row))
            labels[number, start + 1 : end] = row.labels[1:]  # nothing predicts a row's first token
            start = end
        rest = np.arange(start, longest)
        positions[number, start:] = rest if continues else rest - start
    return {
        "input_ids": torch.from_numpy(input_ids),
        "position_ids": torch.from_numpy(positions),
        "labels": torch.from_numpy(labels),
        **line_weights(lines, longest),
    }


def line_weights(lines: Sequence[Sequence[TokenRow]], longest: int) -> dict[str, torch.Tensor]:
    """Return the weights of the tokens of each line; empty if all of them are 1.  # (L, T)"""
    if all(row.weights is None for line in lines for row in line):
        return {}
    weights = np.ones((len(lines), longest), dtype=np.float32)
    for number, line in enumerate(lines):
        start = 0
        for row in line:
            if row.weights is not None:
                weights[number, start : start + len(row)] = row.weights
            start += len(row)
    return {"weights": torch.from_numpy(weights)}


def padded_batch(rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
    """Pad rows on the right to the longest; the pad token is 0, which the mask hides."""
    longest = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)  # (B, T)
    labels = torch.full((len(rows), longest), IGNORED)  # (B, T)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)  # (B, T)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.from_numpy(row.input_ids.astype(np.int64))
        labels[index, 1 : len(row)] = torch.from_numpy(row.labels[1:].astype(np.int64))
        mask[index, : len(row)] = 1
    weights = line_weights([[row] for row in rows], longest)
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, **weights}
