"""The updates of an epoch as micro-batches, collated ahead of the step that trains on them.

Shapes: N units of the data, R units of an update on this process, b units of a micro-batch.

Every process gets the units of the epoch's order that are its own in turn, so an update consists
of the same units however many processes there are and however it is split. Only the split may
change during a run: a smaller b, and R stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch

from swiftbox.core.data.rows import EpochSampler, UnitDataset
from swiftbox.core.data.samples import Sample
from swiftbox.core.training.generated_answers import AnswerWriter, UpdatePlace
from swiftbox.core.training.prefetch import Item, OnDemand, Prefetcher

AHEAD = 2
"""Micro-batches that are ready before they are needed; a batch of masks can have 256 MB."""

SHARED_MEMORY = frozenset({"mps"})
"""Accelerators that share the memory of the CPU: there is nothing to pin."""

Unit = Sequence[Sample]


@dataclass(frozen=True)
class MicroBatch:
    """The units of a forward and a backward pass."""

    inputs: Mapping[str, Any]
    """On the CPU, pinned if there is an accelerator."""
    units: int
    tokens: int
    """Tokens that the model computes, with padding."""
    update_terms: int
    """Terms of the loss of this process's complete update."""
    is_last: bool
    """Whether it is the last one of its update."""


@dataclass(frozen=True)
class UpdateShape:
    """How an update is shared out."""

    units: int
    """Units of an update on each process."""
    process: int = 0
    processes: int = 1


class TrainingLoader:
    """The training data in updates; transformers reads only its length and its dataset."""

    def __init__(
        self,
        dataset: UnitDataset,
        sampler: EpochSampler,
        shape: UpdateShape,
        micro_units: int,
        functions: tuple[Callable[[Sequence[Unit]], dict[str, Any]], Callable[..., int]],
    ) -> None:
        """Split updates into micro-batches of `micro_units`; `functions` collate and count."""
        self.dataset = dataset
        self.sampler = sampler
        self.shape = shape
        self.first_micro_units = self.micro_units = micro_units
        self.collate, self.count = functions
        self.answers: AnswerWriter | None = None
        """Writes the rows of updates when they are reached, with the weights of then."""

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch before any smaller split."""
        return math.ceil(self._units_of_process() / self.first_micro_units)

    @property
    def updates(self) -> int:
        """Return the number of updates of an epoch."""
        return math.ceil(self._units_of_process() / self.shape.units)

    def epoch(self, number: int, first_update: int = 0) -> EpochUpdates:
        """Return the updates of an epoch from the given one on."""
        self.sampler.epoch = number
        order = list(self.sampler)
        # As many units for every process: the last processes repeat the first units, even often.
        order = list(islice(cycle(order), self._units_of_process() * self.shape.processes))
        return EpochUpdates(self, order[self.shape.process :: self.shape.processes], first_update)

    def _units_of_process(self) -> int:
        return math.ceil(len(self.dataset) / self.shape.processes)


class EpochUpdates:
    """The remaining updates of an epoch; a context manager that ends the collating thread."""

    def __init__(self, loader: TrainingLoader, order: Sequence[int], first_update: int) -> None:
        self.loader = loader
        self.order = order
        self.epoch = loader.sampler.epoch
        self.update = first_update
        self._next: MicroBatch | None = None
        self._batches = self._prefetch()

    def terms(self) -> int:
        """Return the number of terms of this process's update."""
        if self._next is None:
            self._next = next(self._batches)
        return self._next.update_terms

    def micro_batches(self) -> Iterator[MicroBatch]:
        """Yield the micro-batches of the update."""
        while True:
            batch = next(self._batches) if self._next is None else self._next
            self._next = None
            yield batch
            if batch.is_last:
                self.update += 1
                return

    def split(self, micro_units: int) -> None:
        """Begin the update again in smaller micro-batches, which stay for the rest of the run."""
        self.close()
        self.loader.micro_units = micro_units
        self._next, self._batches = None, self._prefetch()

    def close(self) -> None:
        """End the thread that collates."""
        self._batches.close()

    def _prefetch(self) -> Prefetcher[MicroBatch] | OnDemand[MicroBatch]:
        batches = self._collated(self.update)
        if self.loader.answers is not None:  # later weights write the answers of later updates
            return OnDemand(batches)
        return collated_ahead(batches, AHEAD)

    def _collated(self, first_update: int) -> Iterator[MicroBatch]:
        loader, size, pins = self.loader, self.loader.shape.units, pins_memory()
        micro = loader.micro_units
        for start in range(first_update * size, len(self.order), size):
            units: Sequence[Unit]
            units = [loader.dataset[index] for index in self.order[start : start + size]]
            if loader.answers is not None:
                place = UpdatePlace(self.epoch, start // size, loader.shape.process)
                units = loader.answers.units_of(units, place)
            terms = loader.count(units)
            for first in range(0, len(units), micro):
                part = units[first : first + micro]
                inputs = loader.collate(part)
                yield MicroBatch(
                    inputs=pinned(inputs) if pins else inputs,
                    units=len(part),
                    tokens=inputs["input_ids"].numel(),
                    update_terms=terms,
                    is_last=first + micro >= len(units),
                )

    def __enter__(self) -> EpochUpdates:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def collated_ahead(batches: Iterator[Item], depth: int) -> Prefetcher[Item] | OnDemand[Item]:
    """Collate batches in a thread while an accelerator computes; otherwise on demand."""
    if not has_accelerator():
        return OnDemand(batches)
    on_start = None
    if pins_memory():
        # Without this, pinning would open a context on the first device for every process.
        index = torch.accelerator.current_device_index()
        on_start = partial(torch.accelerator.set_device_index, index)
    return Prefetcher(batches, depth=depth, on_start=on_start)


def has_accelerator() -> bool:
    """Whether the steps are computed elsewhere than on the CPU, which is then free to collate."""
    return bool(torch.accelerator.is_available())


def pins_memory() -> bool:
    """Whether copies to the device are faster from pinned memory."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return device is not None and device.type not in SHARED_MEMORY


def pinned(inputs: Any) -> Any:
    """Return the tensors of a batch in pinned memory, from where copies need not be awaited."""
    if isinstance(inputs, Mapping):
        return {key: pinned(value) for key, value in inputs.items()}
    return inputs.pin_memory() if isinstance(inputs, torch.Tensor) else inputs
