"""The reference point of KTO (arXiv:2402.01306 section 4.1): the policy's KL divergence.

It is estimated on prompts with the answers of other prompts. Shapes: S sequences of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import TokenRow
from swiftbox.core.losses.scoring import scores


def mismatched_rows(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Combine every prompt with the answer of the previous row; the first takes the last one's."""
    mismatched = []
    for number, row in enumerate(rows):
        other = rows[number - 1]
        start, other_start = row.learned_from, other.learned_from
        input_ids = np.concatenate([row.input_ids[:start], other.input_ids[other_start:]])
        labels = np.concatenate([row.labels[:start], other.labels[other_start:]])
        mismatched.append(TokenRow(input_ids, labels))
    return mismatched


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def kl_estimate(model: Any, batch: Mapping[str, Any], context: Any, answers: int) -> torch.Tensor:
    """Return the mean log-ratio of the mismatched sequences over all devices, at least 0.  # ()"""
    reference = context.reference.sums(model, {}, batch, context.reader, answers)  # (S,)
    policy = scores(model, batch, context.reader, sequences=answers).sums  # (S,)
    mean = (policy - reference).mean()
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean = mean / torch.distributed.get_world_size()
    return mean.clamp(min=0)
