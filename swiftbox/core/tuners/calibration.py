"""Training batches for adapter initializations that are computed from data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.batches import PADDED
from swiftbox.core.data.samples import Sample
from swiftbox.core.losses.log_prob_reader import LogProbReader
from swiftbox.core.losses.scoring import scores
from swiftbox.core.losses.terms import LossContext
from swiftbox.core.tuners.initialization import (
    CALIBRATION_ROWS,
    CalibrationBatches,
    needs_calibration,
)


class CurrentPolicy:
    """The reference policy before the first step: the model itself, still unchanged."""

    def sums(
        self,
        model: Any,
        known: Mapping[str, Any],  # noqa: ARG002 - the signature of ReferencePolicy
        batch: Mapping[str, Any],
        reader: LogProbReader,
        sequences: int,
    ) -> torch.Tensor:
        """Return the log-probability of every answer.  # (S,)"""
        with torch.no_grad():
            return scores(model, batch, reader, sequences=sequences).sums


def calibration_for(
    base_model: Any, config: TrainConfig, method: Any, arguments: Any, samples: Sequence[Sample]
) -> CalibrationBatches | None:
    """Return the batches that the config's initialization needs; None if it needs none."""
    if not needs_calibration(config):
        return None
    base_model.to(arguments.device)
    size = config.micro_batch
    count = min(len(samples), max(CALIBRATION_ROWS, size))
    units = [[samples[number]] for number in range(count)]
    context = LossContext(config, LogProbReader(linear_head=False), CurrentPolicy())
    return CalibrationBatches.of(
        units,
        partial(method.collate, layout=PADDED),
        partial(method.loss, context=context),
        size,
    )
