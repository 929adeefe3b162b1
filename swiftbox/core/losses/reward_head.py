"""A head on the last token of a sequence: one score of a reward model, or those of a classifier.

Shapes: S sequences, L lines, T tokens of a line, C outputs of the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import IGNORED, TokenRow
from swiftbox.core.losses.chunked import at_least_float32
from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.core.losses.scoring import PrefixGroup, lines_of, scored_batch


def last_token_batch(
    rows: Sequence[TokenRow], layout: str, padding: int | None = None
) -> dict[str, Any]:
    """Collate sequences into a batch; `indices` point to their last tokens.  # (S,)

    Tokens at the end that are `padding`, as where a tokenizer pads with the token that closes
    answers, do not count: transformers and all who load the model skip them.
    """
    unlabelled = [TokenRow(row.input_ids, np.full_like(row.labels, IGNORED)) for row in rows]
    groups = [PrefixGroup((number,)) for number in range(len(rows))]
    batch = scored_batch(unlabelled, groups, layout)
    del batch["sequence_ids"], batch["targets"]
    lengths, longest = [len(row) for row in rows], batch["input_ids"].shape[1]
    indices = torch.zeros(len(rows), dtype=torch.long)  # (S,)
    for number, line in enumerate(lines_of(lengths, layout)):
        end = number * longest
        for sequence in line:
            end += lengths[sequence]
            indices[sequence] = end - 1 - _padding_at_end(rows[sequence], padding)
    return batch | {"indices": indices}


def _padding_at_end(row: TokenRow, padding: int | None) -> int:
    others = np.flatnonzero(row.input_ids != (IGNORED if padding is None else padding))
    return len(row) - 1 - int(others[-1] if len(others) else 0)


def rewards(model: Any, inputs: Mapping[str, Any], indices: torch.Tensor) -> torch.Tensor:
    """Return the score at the given index of every sequence, in float32 or better.  # (S,)"""
    return outputs_at(model, inputs, indices)[:, 0]


def outputs_at(model: Any, inputs: Mapping[str, Any], indices: torch.Tensor) -> torch.Tensor:
    """Return the head's outputs at the given indices, in float32 or better.  # (S, C)

    The model's own pooling locates the last token by padding, which joined sequences lack.
    """
    captured: list[torch.Tensor] = []

    def capture(head: Any, arguments: Any, scores: torch.Tensor) -> None:  # noqa: ARG001 - torch's
        captured.append(scores.flatten(0, 1)[indices])  # of (L, T, C)

    hook = score_head(model).register_forward_hook(capture)
    try:
        model(**inputs, use_cache=False)
    finally:
        hook.remove()
    return captured[0].to(at_least_float32(captured[0].dtype))


def score_head(model: Any) -> Any:
    """Return the score layer, inside any wrappers of the model."""
    return unwrapped(model).score
