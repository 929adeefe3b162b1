"""Next-token cross-entropy for any layout. Shapes: L lines, T tokens of a line, M learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from swiftbox.core.data.samples import IGNORED
from swiftbox.core.losses.log_prob_reader import LogProbReader


def next_token_losses(
    model: Any, batch: Mapping[str, Any], reader: LogProbReader, *, uniform: bool = False
) -> torch.Tensor:
    """Return the cross-entropy, in nats, of every learned token in batch order.  # (M,)"""
    labels = batch["labels"]  # (L, T)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    learned = torch.nn.functional.pad(labels[:, 1:] != IGNORED, (0, 1))  # (L, T)
    indices = learned.flatten().nonzero()[:, 0]  # (M,)
    targets = labels.flatten()[indices + 1]  # (M,)
    return -reader.log_probs(model, inputs, indices, targets, uniform=uniform)


def learned_tokens(batch: Mapping[str, Any]) -> int:
    """Count the learned tokens of a batch."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())
