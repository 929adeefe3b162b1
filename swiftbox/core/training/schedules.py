"""A mixin for transformers' trainers: schedules with our arguments, planned again for an extension.

A run that is extended continues with its optimizer, and its schedule as if it had been planned over
the new number of updates: the rate of the next update is that of the new curve at this update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from swiftbox.runs import folder as run_folder


class PlannedSchedule:
    """Passes arguments to the schedule that depend on the number of updates.

    Goes before transformers.Trainer in the bases of a class.
    """

    schedule_arguments: Callable[[int], Mapping[str, Any]] | None = None
    """From the number of updates to the arguments of transformers' schedule."""
    extended_from: int | None = None
    """The update of the checkpoint that an extension began with."""
    args: Any
    optimizer: Any
    lr_scheduler: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the schedule for a number of updates."""
        if self.schedule_arguments is not None:
            self.args.lr_scheduler_kwargs = dict(self.schedule_arguments(num_training_steps))
        return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]  # Trainer's

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        peaks = list(getattr(self.lr_scheduler, "base_lrs", ()))
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]  # Trainer's
        is_extension = checkpoint and run_folder.step_of(Path(checkpoint)) == self.extended_from
        if is_extension and isinstance(self.lr_scheduler, LambdaLR):
            self._plan_again(self.lr_scheduler, peaks)

    def _plan_again(self, schedule: LambdaLR, peaks: list[float]) -> None:
        """Set the rates of the new curve; those of the checkpoint are of the old one."""
        schedule.base_lrs = peaks
        rates = [
            peak * shape(schedule.last_epoch)
            for peak, shape in zip(peaks, schedule.lr_lambdas, strict=True)
        ]
        schedule._last_lr = rates
        for group, peak, rate in zip(self.optimizer.param_groups, peaks, rates, strict=True):
            group["initial_lr"], group["lr"] = peak, rate
