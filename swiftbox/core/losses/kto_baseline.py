"""The reference point of KTO: how far the policy has moved on prompts with foreign answers.

Shapes: S sequences of a batch (arXiv:2402.01306 section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import Row
from swiftbox.core.losses.scoring import scores


def mismatched(rows: Sequence[Row]) -> list[Row]:
    """Give every prompt the answer of the row before it, the first that of the last."""
    made = []
    for at, row in enumerate(rows):
        other = rows[at - 1]
        start, begins = row.learned_from, other.learned_from
        input_ids = np.concatenate([row.input_ids[:start], other.input_ids[begins:]])
        labels = np.concatenate([row.labels[:start], other.labels[begins:]])
        made.append(Row(input_ids, labels))
    return made


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def divergence(model: Any, batch: Mapping[str, Any], context: Any, answers: int) -> torch.Tensor:
    """Return the mean log-ratio of the mismatched sequences on all devices, at least 0.  # ()"""
    reference = context.reference.sums(model, {}, batch, context.readout, answers)  # (S,)
    policy = scores(model, batch, context.readout, sequences=answers).sums  # (S,)
    mean = (policy - reference).mean()
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean = mean / torch.distributed.get_world_size()
    return mean.clamp(min=0)
