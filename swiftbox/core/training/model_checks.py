"""Numerical checks of the properties of a model that training relies on.

Shapes: N tokens of a flat batch, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import LINES, SHARED, collate_rows, to_device
from swiftbox.core.data.samples import IGNORED, SharedPrefix, TokenRow
from swiftbox.core.losses.log_prob_reader import LogProbReader, unwrapped
from swiftbox.core.losses.reward_head import rewards
from swiftbox.core.losses.scoring import PrefixGroup, scored_batch, scores


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def isolates_rows(model: Any, dtype: torch.dtype = torch.float32, layout: str = LINES) -> bool:
    """Check that rows joined in a layout do not attend to each other in this model.

    Two batches, made as in training, differ only in their first row; the logits of the second must
    not change.
    """
    embedding = model.get_input_embeddings().weight
    length = 8
    first = np.arange(length, dtype=np.int32) % len(embedding)
    second = np.arange(length, 2 * length, dtype=np.int32) % len(embedding)
    other = (first + 7) % len(embedding)
    was_training = model.training
    model.eval()
    outputs = []
    with torch.autocast(embedding.device.type, dtype, enabled=dtype != torch.float32):
        for start in (first, other):
            rows = [[TokenRow(ids, ids)] for ids in (start, second)]
            batch = to_device(collate_rows(rows, layout), embedding.device)
            del batch["labels"]
            outputs.append(_head_output(model, batch)[length:])  # (N/2, V)
    model.train(was_training)
    difference = (outputs[0] - outputs[1]).abs().max()
    # Attention to the other row moves logits by tens of percent, rounding by less than 1e-5.
    return bool(difference <= 1e-3 * outputs[0].abs().max())


def _head_output(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the head's output for every token of a flat batch.  # (N, V); a score: (N, 1)"""
    if hasattr(unwrapped(model), "score"):
        indices = torch.arange(inputs["input_ids"].numel(), device=inputs["input_ids"].device)
        return rewards(model, inputs, indices)[:, None]
    return model(**inputs, use_cache=False).logits[0]


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def prefix_sharing_is_exact(
    model: Any, dtype: torch.dtype = torch.float32, layouts: tuple[str, str] = (SHARED, LINES)
) -> bool:
    """Check that computing once what rows begin with is exact in this model.

    The log-probabilities of three rows in the first layout, where the second leaves the first and
    the third leaves the second, must equal those of separate rows in the other layout.
    """
    device = model.get_input_embeddings().weight.device
    rows, prefixes = _branching_rows(model.get_input_embeddings().weight.shape[0])
    shared = [PrefixGroup((0, 1, 2), prefixes)]
    separate = [PrefixGroup((number,)) for number in range(3)]
    was_training = model.training
    model.eval()
    reader, sums = LogProbReader(linear_head=False), []
    for layout, groups in zip(layouts, (shared, separate), strict=True):
        batch = to_device(scored_batch(rows, groups, layout), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            sums.append(scores(model, batch, reader, sequences=3).sums)  # (3,)
    model.train(was_training)
    difference = (sums[0] - sums[1]).abs().max()
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2  # 16-bit types round to 2**-8
    return bool(difference <= tolerance * sums[1].abs().max())


def _branching_rows(vocabulary: int) -> tuple[list[TokenRow], tuple[SharedPrefix, ...]]:
    """Return three made-up rows that learn their last tokens, and what they share."""
    ids = (np.arange(24, dtype=np.int32) * 7 + 1) % vocabulary
    first = ids[:12]
    second = np.concatenate([first[:8], ids[15:19]])
    third = np.concatenate([second[:10], ids[20:24]])
    rows = [
        TokenRow(row, np.where(np.arange(len(row)) < start, IGNORED, row).astype(np.int32))
        for row, start in ((first, 8), (second, 8), (third, 10))
    ]
    return rows, (SharedPrefix(0, 8), SharedPrefix(1, 10))
