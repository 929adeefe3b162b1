"""A reward head: one score per sequence, read at its last token.

Shapes: S sequences, L lines, T tokens of a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import IGNORED, TokenRow
from swiftbox.core.losses.chunked import at_least_float32
from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.core.losses.scoring import PrefixGroup, scored_batch


def last_token_batch(rows: Sequence[TokenRow], layout: str) -> dict[str, Any]:
    """Collate sequences into a batch; `indices` point to their last tokens.  # (S,)"""
    marked = [TokenRow(row.input_ids, _last_label(row)) for row in rows]
    groups = [PrefixGroup((number,)) for number in range(len(rows))]
    batch = scored_batch(marked, groups, layout)
    order = batch.pop("sequence_ids").argsort()  # lines reorder the sequences
    batch["indices"] = batch["indices"][order] + 1  # from the predicting to the last token
    del batch["targets"]
    return batch


def _last_label(row: TokenRow) -> Any:
    labels = np.full_like(row.labels, IGNORED)
    labels[-1] = row.input_ids[-1]
    return labels


def rewards(model: Any, inputs: Mapping[str, Any], indices: torch.Tensor) -> torch.Tensor:
    """Return the score at the given index of every sequence, in float32 or better.  # (S,)

    The model's own pooling locates the last token by padding, which joined sequences lack.
    """
    captured: list[torch.Tensor] = []

    def capture(head: Any, arguments: Any, scores: torch.Tensor) -> None:  # noqa: ARG001 - torch's
        captured.append(scores.flatten(0, 1)[indices, 0])  # of (L, T, 1)

    hook = score_head(model).register_forward_hook(capture)
    try:
        model(**inputs, use_cache=False)
    finally:
        hook.remove()
    return captured[0].to(at_least_float32(captured[0].dtype))


def score_head(model: Any) -> Any:
    """Return the score layer, inside any wrappers of the model."""
    return unwrapped(model).score
