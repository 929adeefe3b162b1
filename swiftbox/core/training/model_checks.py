"""What a model promises, tried out on it before training relies on it.

Shapes: N tokens of a flat batch, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import LINES, SHARED
from swiftbox.core.data.samples import IGNORED, Pair, Row
from swiftbox.core.losses.readout import Readout, unwrapped
from swiftbox.core.losses.reward_head import rewards
from swiftbox.core.losses.scoring import pair_batch, scores


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def keeps_rows_apart(model: Any, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether joined rows are invisible to each other in this very model.

    Two flat batches differ only in their first row: the second row's logits must not move.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    length = 8
    first = torch.arange(2 * length, device=device) % vocabulary
    other = first.clone()
    other[:length] = (first[:length] + 7) % vocabulary
    positions = torch.arange(length, device=device).repeat(2)[None]  # (1, N)
    was_training = model.training
    model.eval()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        seen = [
            _read(model, {"input_ids": ids[None], "position_ids": positions})[length:]
            for ids in (first, other)
        ]  # two of (N/2, V)
    model.train(was_training)
    moved = (seen[0] - seen[1]).abs().max()
    return bool(moved <= 1e-3 * seen[0].abs().max())


def _read(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return what the head says of every token of a flat batch.  # (N, V), (N, 1) of a score"""
    if hasattr(unwrapped(model), "score"):
        places = torch.arange(inputs["input_ids"].numel(), device=inputs["input_ids"].device)
        return rewards(model, inputs, places)[:, None]
    return model(**inputs, use_cache=False).logits[0]


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def shares_prompts(model: Any, dtype: torch.dtype = torch.float32) -> bool:
    """Tell whether a prompt that stands once serves two answers exactly in this very model.

    The log-probabilities of a pair with a shared prompt must be those of two whole rows.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    ids = (np.arange(20, dtype=np.int32) * 7 + 1) % vocabulary
    learned = np.where(np.arange(12) < 8, IGNORED, ids[:12]).astype(np.int32)
    other = np.concatenate([ids[:8], ids[15:19]])
    rows = Row(ids[:12], learned), Row(other, np.where(learned == IGNORED, IGNORED, other))
    was_training = model.training
    model.eval()
    found = []
    for layout in (SHARED, LINES):
        batch = {key: value.to(device) for key, value in pair_batch([Pair(*rows)], layout).items()}
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found.append(scores(model, batch, Readout(plain=False), sequences=2).sums)  # (2,)
    model.train(was_training)
    moved = (found[0] - found[1]).abs().max()
    exact = 1e-4 if dtype == torch.float32 else 2e-2
    return bool(moved <= exact * found[1].abs().max())
