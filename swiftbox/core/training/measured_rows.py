"""The loss of a model on rows, computed as a training computes it on the rows it holds out.

Same encoding, same batches, same loss: the mean over the learned tokens equals `eval_loss` of that
training. Shapes: N rows, M learned tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.layouts import TURNS
from swiftbox.core.data.rows import TurnUnits, UnitDataset, has_turn_rows
from swiftbox.core.data.samples import Sample, TokenRow
from swiftbox.core.losses.cross_entropy import next_token_losses
from swiftbox.core.losses.log_prob_reader import reader_for
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.core.training.arguments import training_arguments
from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.classifier import HeadChoice, layout_of
from swiftbox.core.training.memory_recovery import split_limits
from swiftbox.core.training.network_options import prepare_network
from swiftbox.core.training.parallel import for_one_device
from swiftbox.core.training.rope_lengths import fix_rope_lengths
from swiftbox.core.training.session import load_base, units_of
from swiftbox.core.training.trainer import SwiftTrainer, TrainingSetup
from swiftbox.core.training.trainer_inputs import TrainerInputs
from swiftbox.core.tuners.attach import AdapterStart, adapted_network
from swiftbox.runs import events
from swiftbox.runs.events import Emit

Unit = Sequence[Sample]


@dataclass(frozen=True)
class MeasuredWeights:
    """The weights to measure: a model, and an adapter on it."""

    model: Path
    adapter: Path | None = None


@dataclass(frozen=True)
class RowLosses:
    """The loss per learned token of all rows, and the summed losses of each row."""

    loss: float
    tokens: int
    sums: Sequence[float]
    """Of each row, in nats."""


class RowsOfLength(UnitDataset):
    """Rows whose longest one is as long as that of the training, which decides the batches."""

    def __init__(self, units: Sequence[Unit], longest: int) -> None:
        super().__init__(units)
        self._longest = longest

    def longest(self) -> int:
        """Return the tokens of the training's longest unit."""
        return self._longest


@dataclass
class TokenLosses:
    """A loss that also keeps the loss of each token, in the order of the batches."""

    context: LossContext
    on_batch: Callable[[int], None]
    """Gets the number of batches so far."""
    batches: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, model: Any, batch: Mapping[str, Any]) -> LossTerms:
        """Return the loss of a batch as the method does."""
        losses = next_token_losses(model, batch, self.context.reader, uniform=True)  # (M,)
        self.batches.append(losses.detach())
        self.on_batch(len(self.batches))
        return LossTerms(losses.sum(), losses.numel())


def measure_rows(
    inputs: tuple[TrainConfig, Any, Any],
    weights: MeasuredWeights,
    rows: tuple[Sequence[Sample], int],
    folder: Path,
    emit: Emit,
) -> RowLosses:
    """Return the loss on rows; loads the weights.

    Args:
        inputs: The settled config, its method (sft or pt) and the tokenizer.
        weights: What is measured.
        rows: The encoded rows, and the tokens of the longest row of the training.
        folder: A folder for what the trainer writes.
        emit: Records events.
    """
    config, method, tokenizer = inputs
    samples, longest = rows
    arguments = for_one_device(training_arguments(config, folder, evaluates=True))
    set_seed(config.seed)
    device = arguments.device
    base_model = load_base(weights.model, config, HeadChoice("language"), device, emit)
    zeros = np.zeros(longest, np.int32)  # stands for the longest row of the training
    fix_rope_lengths(base_model, (samples, [TokenRow(zeros, zeros)]), config, emit)
    network = adapted_network(base_model, config, AdapterStart(weights.adapter), emit)
    prepare_network(network, config, device, emit)
    loaded = TrainerInputs(
        config, method, network, tokenizer, arguments, weights.model, weights.adapter
    )
    return _losses(loaded, samples, longest, RunRecorder(folder, emit, 1))


def _losses(
    inputs: TrainerInputs, samples: Sequence[Sample], longest: int, record: RunRecorder
) -> RowLosses:
    config, method = inputs.config, inputs.method
    shares = TURNS if has_turn_rows(samples) else ""
    layout = layout_of(inputs, record.emit, device=inputs.arguments.device, shares=shares)
    grouped = units_of(samples, inputs, record.emit, layout=layout)
    owners = [index for index, _ in grouped.places] if isinstance(grouped, TurnUnits) else None
    units: list[Unit] = list(grouped)  # one object each, so that a batch tells which they are
    reader = reader_for(inputs.network, getattr(torch, config.dtype), sharded=False)
    reader = replace(reader, smoothing=config.smoothing)

    def report(done: int) -> None:
        record.emit(events.MEASURING, done=done, of=len(trainer.held_out_loss.batches()))

    tokens = TokenLosses(LossContext(config, reader), report)
    dataset = RowsOfLength(units, longest or UnitDataset(units).longest())
    trainer = SwiftTrainer(
        TrainingSetup(
            record=record,
            training=dataset,
            held_out=dataset,
            collate=partial(method.collate, layout=layout),
            loss=tokens,
            count=method.count,
            limits=split_limits(config, method),
        ),
        model=inputs.network,
        args=inputs.arguments,
        processing_class=inputs.tokenizer,
    )
    loss = trainer.held_out_loss.compute()
    order = _order(units, trainer.held_out_loss.batches())
    learned = [_learned(units[number]) for number in order]
    losses = torch.cat(tokens.batches).double().cpu().split(learned)
    sums = [0.0] * len(samples)
    for number, part in zip(order, losses, strict=True):
        sums[number if owners is None else owners[number]] += float(part.sum())
    return RowLosses(loss, sum(learned), sums)


def _order(units: Sequence[Unit], batches: Sequence[Sequence[Unit]]) -> list[int]:
    """Return the numbers of the units in the order of the batches."""
    place = {id(unit): number for number, unit in enumerate(units)}
    return [place[id(unit)] for batch in batches for unit in batch]


def _learned(unit: Unit) -> int:
    return sum(sample.trained for sample in unit)
