"""The split of updates into micro-batches during a run, and how it gets smaller."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.loader import EpochUpdates, MicroBatch
from swiftbox.core.training.memory_recovery import (
    RandomStates,
    SplitLimits,
    device_bytes,
    free_memory,
    limit_error,
    remember_split,
    remembered_split,
    smaller_split,
    together_error,
)
from swiftbox.core.training.metric_sums import gathered
from swiftbox.core.training.progress import peak_memory_bytes
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.diagnosis import is_out_of_memory

Sums = TypeVar("Sums")


class SplitChanges:
    """Repeats an update in smaller micro-batches; announces and remembers their size."""

    def __init__(self, record: RunRecorder, limits: SplitLimits, arguments: Any) -> None:
        self.record = record
        self.limits = limits
        self.arguments = arguments
        self.first_units = int(arguments.per_device_train_batch_size)
        self.update_units = self.first_units * int(arguments.gradient_accumulation_steps)
        self.units = remembered_split(record.folder, before=self.first_units)
        self.current: MicroBatch | None = None
        """The micro-batch that is being computed."""
        self.averages_gradients = False
        """Whether its pass averages the gradients over the processes: the last one of an update."""
        self._change: dict[str, Any] | None = None

    def announce_remembered(self) -> None:
        """Record that an earlier start of this run found a smaller split."""
        if self.units < self.first_units:
            message = text(
                f"micro-batches of {self.units} instead of {self.first_units}, since the memory "
                "ran out before; an update has as many rows as before",
                f"此前内存不足，每个微批为 {self.units} 行而非 {self.first_units} 行；"
                "每次更新的总行数不变",
            )
            self.record.emit(events.NOTE, key="per_device_train_batch_size", message=message)

    def repeat_until_it_fits(
        self, updates: EpochUpdates, accumulate: Callable[[], Sums], *, step: int, model: Any
    ) -> Sums:
        """Return what accumulate() does, called again with smaller micro-batches if needed."""
        states = RandomStates.now()
        while True:
            self.averages_gradients = False
            try:
                return accumulate()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                units = self._smaller(error, step)
            # Outside the handler: the error holds the frames, and they hold the tensors.
            model.zero_grad()
            free_memory()
            self._change_to(units, step)
            updates.split(units)
            states.restore()

    @contextlib.contextmanager
    def noting_failure(self, step: int) -> Iterator[None]:
        """Record that the memory ran out in what is not repeated: the change of the weights."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self._note_failure(step)
            raise

    def announce(self) -> None:
        """Record the smallest split of all processes if it is a new one; all must call this."""
        processes = self.arguments.world_size
        changes = [change for change in gathered(self._change, processes) if change]
        self._change = None
        if not changes:
            return
        change = min(changes, key=lambda change: int(change["units"]))
        self.record.emit(events.SMALLER_BATCH, **change)
        if self.arguments.process_index == 0:
            remember_split(self.record.folder, change["units"], before=self.first_units)

    def _smaller(self, error: BaseException, step: int) -> int:
        """Return the units of a micro-batch to try next; raise if there is nothing to try."""
        together = self.limits.sharded or self.averages_gradients
        if together or (self.limits.couples_rows and self.arguments.world_size > 1):
            self._note_failure(step)
            raise together_error(
                error, update_units=self.update_units, micro_units=self.units
            ) from error
        units = smaller_split(self.update_units, self.units, self.limits.fewest_units)
        if units is None:
            self._note_failure(step)
            tokens = self.current.tokens if self.current else 0
            raise limit_error(error, units=self.units, tokens=tokens, limits=self.limits) from error
        return units

    def _note_failure(self, step: int) -> None:
        """Record what did not fit: later plans learn from it."""
        self.record.emit(
            events.OUT_OF_MEMORY, step=step + 1, units_before=self.units, **self._memory()
        )

    def _memory(self) -> dict[str, Any]:
        return {
            "tokens": self.current.tokens if self.current else 0,
            "memory_bytes": peak_memory_bytes(),
            "device_bytes": device_bytes(),
        }

    def _change_to(self, units: int, step: int) -> None:
        before = self._change["units_before"] if self._change else self.units
        self._change = {
            "step": step + 1,
            "units": units,
            "units_before": before,
            "accumulation": self.update_units // units,
            **self._memory(),
        }
        self.units = units
        if self.arguments.world_size == 1:
            self.announce()
