"""From rows to a batch, joined or padded. Shapes: B rows, T tokens, N in all, M learned.

A flat batch is one line of N tokens whose `position_ids` start again at every row. Without an
attention mask and without a cache, transformers then keeps the rows apart (block-diagonal mask in
sdpa and eager, variable-length kernels in flash attention).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.encoding import IGNORED, Row

FLAT, PADDED = "flat", "padded"


def collate_rows(units: Sequence[Sequence[Row]], layout: str) -> dict[str, Any]:
    """Join the rows of the units to one batch in the layout named."""
    rows = [row for unit in units for row in unit]
    return flat_batch(rows) if layout == FLAT else padded_batch(rows)


def flat_batch(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Join rows end to end; `keep` are the places whose next token is learned."""
    input_ids = np.concatenate([row.input_ids for row in rows])  # (N,)
    positions = np.concatenate([np.arange(len(row)) for row in rows])  # (N,)
    labels = np.concatenate([row.labels for row in rows])  # (N,)
    labels = np.where(positions == 0, IGNORED, labels)  # nothing before a row predicts its start
    keep = np.flatnonzero(labels != IGNORED) - 1  # (M,)
    return {
        "input_ids": torch.from_numpy(input_ids.astype(np.int64))[None],  # (1, N)
        "position_ids": torch.from_numpy(positions.astype(np.int64))[None],  # (1, N)
        "labels": torch.from_numpy(labels.astype(np.int64))[None],  # (1, N)
        "keep": torch.from_numpy(keep.astype(np.int64)),  # (M,)
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
