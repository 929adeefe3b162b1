"""The cross-entropy of next tokens, whatever the layout. Shapes: L lines, T tokens, M learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from swiftbox.core.data.samples import IGNORED
from swiftbox.core.losses.readout import Readout


def next_token_losses(
    model: Any, batch: Mapping[str, Any], readout: Readout, *, uniform: bool = False
) -> torch.Tensor:
    """Return the cross-entropy in nats of every learned token, in batch order.  # (M,)"""
    labels = batch["labels"]  # (L, T)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    learned = torch.nn.functional.pad(labels[:, 1:] != IGNORED, (0, 1))  # (L, T)
    places = learned.flatten().nonzero()[:, 0]  # (M,)
    targets = labels.flatten()[places + 1]  # (M,)
    return -readout.log_probs(model, inputs, places, targets, uniform=uniform)


def learned_tokens(batch: Mapping[str, Any]) -> int:
    """Count the tokens of a batch that are learned."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())
