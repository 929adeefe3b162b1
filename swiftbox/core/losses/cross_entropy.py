"""Next-token cross-entropy for any layout. Shapes: L lines, T tokens of a line, M learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.samples import IGNORED
from swiftbox.core.losses.log_prob_reader import LogProbReader

NOT_INPUTS = frozenset({"labels", "indices", "targets", "weights"})
"""Keys of a batch that the model does not get."""


def with_targets(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Add the learned tokens (`targets`) and the `indices` that predict them.  # both (M,)

    Where the batch has weights, they become those of the learned tokens.  # (L,T) -> (M,)
    Done when a batch is collated: on a device, the number of learned tokens would have to be read
    back before the loss could be computed.
    """
    labels = batch["labels"].numpy()  # (L, T)
    lines, columns = np.nonzero(labels[:, 1:] != IGNORED)  # (M,), (M,)
    indices = lines * labels.shape[1] + columns
    targets = labels[lines, columns + 1]
    located = {
        **batch,
        "indices": torch.from_numpy(indices),
        "targets": torch.from_numpy(targets),
    }
    if "weights" in batch:
        located["weights"] = batch["weights"][lines, columns + 1]
    return located


def next_token_losses(
    model: Any, batch: Mapping[str, Any], reader: LogProbReader, *, uniform: bool = False
) -> torch.Tensor:
    """Return the cross-entropy, in nats, of every learned token in batch order.  # (M,)

    Tokens that have a weight are multiplied by it, so that `uniform` does not hold for them.
    """
    inputs = {key: value for key, value in batch.items() if key not in NOT_INPUTS}
    weights = batch.get("weights")
    losses = -reader.log_probs(
        model, inputs, batch["indices"], batch["targets"], uniform=uniform and weights is None
    )
    return losses if weights is None else losses * weights.to(losses.dtype)
