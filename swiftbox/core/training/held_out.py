"""The loss on the held-out rows, in batches of as many tokens as the longest of the training.

Without gradients such a batch needs a part of the memory that training needs. One that does not
fit all the same is split, and so are the batches after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swiftbox.core.data.batches import to_device
from swiftbox.core.data.rows import unit_tokens
from swiftbox.core.data.samples import Sample
from swiftbox.core.training.loader import collated_ahead, pinned, pins_memory
from swiftbox.core.training.memory_recovery import (
    free_memory,
    limit_error,
    together_error,
)
from swiftbox.core.training.metric_sums import gathered
from swiftbox.runs.diagnosis import is_out_of_memory

Unit = Sequence[Sample]


@dataclass(frozen=True)
class HeldOutBatch:
    """Units that are evaluated in one forward pass."""

    units: Sequence[Unit]
    counts: bool = True
    """False for a batch that a process computes only because the others have one more."""


def batches_by_tokens(units: Sequence[Unit], most_tokens: int) -> list[list[Unit]]:
    """Group units of similar length; a batch has at most the tokens, or a single unit.

    Units count as long as the longest of their batch, as if they were padded.
    """
    lengths = [unit_tokens(unit) for unit in units]
    batches: list[list[Unit]] = []
    longest = 0
    for index in sorted(range(len(units)), key=lambda index: -lengths[index]):
        if not batches or (len(batches[-1]) + 1) * longest > most_tokens:
            batches.append([])
            longest = lengths[index]  # of the batch, since the lengths fall
        batches[-1].append(units[index])
    return batches


def batches_by_rows(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Group units in their order, for losses that depend on the other rows of a batch."""
    return [list(units[start : start + size]) for start in range(0, len(units), size)]


def share_of(
    batches: Sequence[Sequence[Unit]], process: int, processes: int
) -> Iterator[HeldOutBatch]:
    """Yield the batches of a process; all processes get equally many.

    Sharded models need all processes for each batch, so a process without one left computes a
    batch that does not count.
    """
    share = batches[process::processes]
    for number in range(math.ceil(len(batches) / processes)):
        if number < len(share):
            yield HeldOutBatch(share[number])
        else:
            yield HeldOutBatch(batches[-1][:1], counts=False)


def halves(units: Sequence[Unit]) -> tuple[Sequence[Unit], Sequence[Unit]]:
    """Split the units of a batch that did not fit the memory."""
    middle = len(units) // 2
    return units[:middle], units[middle:]


class HeldOutLoss:
    """Computes the loss per term on the held-out rows; adds metrics to the trainer's."""

    def __init__(self, trainer: Any, setup: Any) -> None:
        self.trainer = trainer
        self.setup = setup
        self._batches: list[list[Unit]] | None = None
        self._most_units = math.inf
        self.measured: dict[str, float] = {}
        """The metrics of the last evaluation that are no means over rows."""

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def compute(self) -> float:
        """Return the mean over the held-out rows of all processes."""
        trainer, arguments = self.trainer, self.trainer.args
        was_training = trainer.model.training
        trainer.model.eval()
        totals: list[Any] = []  # stay on the device until all batches are queued
        outputs: list[tuple[Any, Any]] = []
        count = 0
        share = share_of(self.batches(), arguments.process_index, arguments.world_size)
        with collated_ahead(self._collated(share), 1) as collated:
            for batch, inputs in collated:
                results = self._results(batch.units, inputs)
                if batch.counts:
                    totals += [result.total for result in results]
                    count += sum(result.count for result in results)
                    for result in results:
                        trainer.metrics.add(result)
                    outputs += [result.outputs for result in results if result.outputs is not None]
        trainer.model.train(was_training)
        total = sum(torch.stack(totals).tolist()) if totals else 0.0
        self._measure(outputs)
        sums = gathered((total, count), arguments.world_size)
        return float(sum(total for total, _ in sums) / sum(count for _, count in sums))

    def _measure(self, outputs: Sequence[tuple[Any, Any]]) -> None:
        """Measure the rows of all processes together, in float64 on the host."""
        if self.setup.measure is None:
            return
        kinds = zip(*outputs, strict=True) if outputs else ([], [])
        local = [torch.cat(list(kind)).cpu().double().numpy() for kind in kinds if kind]
        parts = gathered(local, self.trainer.args.world_size)
        logits, targets = (
            np.concatenate([part[kind] for part in parts if part]) for kind in range(2)
        )
        self.measured = self.setup.measure(logits, targets)

    def batches(self) -> list[list[Unit]]:
        """Return the batches of all processes; the same ones at every evaluation."""
        if self._batches is None:
            size = self.trainer.args.per_device_train_batch_size
            units = list(self.setup.held_out.units)
            if self.setup.limits.couples_rows:
                self._batches = batches_by_rows(units, size)
            else:
                self._batches = batches_by_tokens(units, size * self.setup.training.longest())
        return self._batches

    def _collated(
        self, share: Iterator[HeldOutBatch]
    ) -> Iterator[tuple[HeldOutBatch, Mapping[str, Any]]]:
        pins = pins_memory()
        for batch in share:
            inputs = self.setup.collate(batch.units)
            yield batch, pinned(inputs) if pins else inputs

    def _results(self, units: Sequence[Unit], inputs: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the loss terms of units, computed in parts if they do not fit."""
        if len(units) > self._most_units:
            return [result for half in halves(units) for result in self._results(half)]
        try:
            return [self._terms(self.setup.collate(units) if inputs is None else inputs)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._require_smaller(error, units)
        free_memory()  # outside the handler, where the error no longer holds the tensors
        self._most_units = max(1, len(units) // 2)
        return self._results(units)

    def _terms(self, inputs: Mapping[str, Any]) -> Any:
        trainer = self.trainer
        with trainer.compute_loss_context_manager(), trainer.accelerator.autocast():
            return self.setup.loss(trainer.model, to_device(inputs, trainer.args.device))

    def _require_smaller(self, error: BaseException, units: Sequence[Unit]) -> None:
        """Raise MemoryLimitError unless the units can be computed in two parts."""
        limits, arguments = self.setup.limits, self.trainer.args
        if limits.sharded:
            size = arguments.per_device_train_batch_size
            update_units = size * arguments.gradient_accumulation_steps
            raise together_error(error, update_units=update_units, micro_units=size) from error
        if len(units) == 1 or limits.couples_rows:
            tokens = sum(map(unit_tokens, units))
            raise limit_error(error, units=len(units), tokens=tokens, limits=limits) from error
