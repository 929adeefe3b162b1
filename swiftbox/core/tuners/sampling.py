"""Training rows for adapters whose first values are made of them, and a loss to begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.samples import Sample as Row
from swiftbox.core.losses.readout import Readout
from swiftbox.core.losses.scoring import scores
from swiftbox.core.losses.terms import Context
from swiftbox.core.tuners.inits import SAMPLE_ROWS, Sample, needs_sample


class Itself:
    """The reference before the first step: the very model, which has not moved yet."""

    def sums(
        self,
        model: Any,
        known: Mapping[str, Any],  # noqa: ARG002 - core.reference.Reference's
        batch: Mapping[str, Any],
        readout: Readout,
        sequences: int,
    ) -> torch.Tensor:
        """Return the log-probability of every answer.  # (S,)"""
        with torch.no_grad():
            return scores(model, batch, readout, sequences=sequences).sums


def sample_for(
    base: Any, config: TrainConfig, method: Any, arguments: Any, rows: Sequence[Row]
) -> Sample | None:
    """Return the rows that first values are made of; None where none are needed."""
    if not needs_sample(config):
        return None
    base.to(arguments.device)
    size = config.per_device_train_batch_size
    units = [[rows[at]] for at in range(min(len(rows), max(SAMPLE_ROWS, size)))]
    context = Context(config, Readout(plain=False), Itself())
    padded = partial(method.collate, layout=PADDED)
    return Sample.of(units, padded, partial(method.loss, context=context), size)
