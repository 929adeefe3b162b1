"""Numerical checks of the properties of a model that training relies on.

Shapes: N tokens of a flat batch, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import LINES, SHARED, collate_rows, to_device
from swiftbox.core.data.samples import IGNORED, PreferencePair, TokenRow
from swiftbox.core.losses.log_prob_reader import LogProbReader, unwrapped
from swiftbox.core.losses.reward_head import rewards
from swiftbox.core.losses.scoring import pair_batch, scores


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
def prompt_sharing_is_exact(
    model: Any, dtype: torch.dtype = torch.float32, layouts: tuple[str, str] = (SHARED, LINES)
) -> bool:
    """Check that computing a shared prompt once is exact in this model.

    The log-probabilities of a pair in the first layout, with a shared prompt, must equal those of
    two separate rows in the second.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    ids = (np.arange(20, dtype=np.int32) * 7 + 1) % vocabulary
    learned = np.where(np.arange(12) < 8, IGNORED, ids[:12]).astype(np.int32)
    other = np.concatenate([ids[:8], ids[15:19]])
    other_labels = np.where(learned == IGNORED, IGNORED, other)
    pair = PreferencePair(TokenRow(ids[:12], learned), TokenRow(other, other_labels))
    was_training = model.training
    model.eval()
    reader, sums = LogProbReader(linear_head=False), []
    for layout in layouts:
        batch = to_device(pair_batch([pair], layout), device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            sums.append(scores(model, batch, reader, sequences=2).sums)  # (2,)
    model.train(was_training)
    difference = (sums[0] - sums[1]).abs().max()
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2  # 16-bit types round to 2**-8
    return bool(difference <= tolerance * sums[1].abs().max())
