"""A head that gives one number per sequence, read at its last token.

Shapes: S sequences, L lines, T tokens of a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import Row
from swiftbox.core.losses.readout import unwrapped
from swiftbox.core.losses.scoring import Strand, scored_batch


def ending_batch(rows: Sequence[Row], layout: str) -> dict[str, Any]:
    """Join sequences to a batch; `places` are those of the last tokens.  # (S,)"""
    marked = [Row(row.input_ids, _only_last(row)) for row in rows]
    strands = [Strand((at,)) for at in range(len(rows))]
    batch = scored_batch(marked, strands, layout)
    order = batch.pop("owners").argsort()  # lines hold sequences in an order of their own
    batch["places"] = batch["places"][order] + 1  # the place before predicts; the last one sees all
    del batch["targets"]
    return batch


def _only_last(row: Row) -> Any:
    labels = np.full_like(row.labels, -100)
    labels[-1] = row.input_ids[-1]
    return labels


def rewards(model: Any, inputs: Mapping[str, Any], places: torch.Tensor) -> torch.Tensor:
    """Return the score of every sequence, read where it ends, in float32.  # (S,)

    The model's own pooling looks for padding, which joined sequences have none of.
    """
    kept: list[torch.Tensor] = []

    def keep(head: Any, arguments: Any, scored: torch.Tensor) -> None:  # noqa: ARG001 - torch's
        kept.append(scored.flatten(0, 1)[places, 0])  # of (L, T, 1)

    hook = score_head(model).register_forward_hook(keep)
    try:
        model(**inputs, use_cache=False)
    finally:
        hook.remove()
    return kept[0].float()


def score_head(model: Any) -> Any:
    """Return the layer that scores, under whatever the model is wrapped in."""
    inner = unwrapped(model)
    return inner.score
