"""Emit the progress of a training as events, and stop it between steps on request."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from swiftbox.core.training.phase_clock import PhaseClock
from swiftbox.runs import events
from swiftbox.runs.stop import STOP

AVERAGED_STEPS = 20
"""Steps over which the time per step is averaged to estimate the remaining time."""

METHOD_METRICS = re.compile(
    r"(rewards|completions)/|kl$|reward|(accuracy|macro_f1|micro_f1|mse|mae|pearson)$"
)
"""Names of the metrics of a method."""


def peak_memory_bytes() -> int:
    """Return the peak memory of the accelerator if there is one, otherwise of the process.

    An accelerator without a record of its peak gives what it has allocated now.
    """
    if torch.accelerator.is_available():
        with contextlib.suppress(RuntimeError, AttributeError):
            return int(torch.accelerator.max_memory_allocated())
        device = torch.get_device_module(torch.accelerator.current_accelerator())
        return int(getattr(device, "driver_allocated_memory", lambda: 0)())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def metrics_of(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the metrics of the method, such as rewards/accuracies."""
    return {
        name.removeprefix(prefix): round(value, 6)
        for name, value in logs.items()
        if value is not None  # a reward function that judged none of the answers
        and name.startswith(prefix)
        and METHOD_METRICS.match(name.removeprefix(prefix))
    }


class ProgressCallback(TrainerCallback):
    """Emits an event for each logged step, and stops the run between two steps on request."""

    def __init__(self, emit: Callable[..., None], clock: PhaseClock | None = None) -> None:
        """Emit with `emit`; the clock knows when the phases of the run began."""
        self.emit = emit
        self.clock = clock
        self.trainer: Any = None
        self.stamps: list[tuple[float, int]] = []
        self.was_stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Emit the start of the training; from now on a checkpoint can be saved."""
        self.stamps = [(time.monotonic(), self.trainer.tokens_seen)]
        state.compute_steps(args, state.max_steps)  # a checkpoint brings the intervals it had
        self.emit(
            events.START,
            total_steps=state.max_steps,
            epochs=state.num_train_epochs,
            rows=len(self.trainer.train_dataset),
            resumed_from=state.global_step or None,
            memory_bytes=peak_memory_bytes(),
        )
        STOP.can_save.set()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the time; save and stop if requested."""
        if self.clock is not None:
            self._emit_first_step(self.clock)
            self.clock = None
        self.stamps = [*self.stamps[-AVERAGED_STEPS:], (time.monotonic(), self.trainer.tokens_seen)]
        if state.global_step < state.max_steps and self._stop_requested():
            self.was_stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        """Emit a step or an evaluation."""
        logs = logs or {}
        if "eval_loss" in logs:
            self._emit_evaluation(state, logs)
        if "loss" not in logs:
            return
        (first, first_tokens), (last, last_tokens) = self.stamps[0], self.stamps[-1]
        elapsed = max(last - first, 1e-9)
        per_step = elapsed / max(1, len(self.stamps) - 1)
        tokens_per_s = (last_tokens - first_tokens) / elapsed * args.world_size
        self.emit(
            events.STEP,
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 4),
            loss=logs["loss"],
            learning_rate=logs.get("learning_rate"),
            grad_norm=logs.get("grad_norm"),
            tokens_per_s=round(tokens_per_s, 1),
            memory_bytes=peak_memory_bytes(),
            eta_s=round(per_step * (state.max_steps - state.global_step), 1),
            metrics=metrics_of(logs),
        )

    def _emit_evaluation(self, state: Any, logs: Mapping[str, Any]) -> None:
        """Emit an evaluation; if evaluations are compared, whether it is the best so far."""
        judgement = getattr(self.trainer, "judgement", None)
        fields = {}
        if judgement is not None:
            is_best = judgement.judge(state.log_history).step == state.global_step
            fields = {"best": is_best}
        metrics = metrics_of(logs, "eval_")
        step = state.global_step
        self.emit(events.EVAL, step=step, loss=logs["eval_loss"], metrics=metrics, **fields)

    def _emit_first_step(self, clock: PhaseClock) -> None:
        """Emit how long the first step took; its work on the device is waited for."""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        phases = clock.phases()
        self.emit(events.FIRST_STEP, seconds=round(sum(phases.values()), 2), phases=phases)

    def _stop_requested(self) -> bool:
        """Agree with all processes on whether to stop at this step."""
        requested = STOP.requested.is_set()
        if self.trainer.args.world_size == 1:
            return requested
        votes = getattr(self.trainer, "votes", None)  # TRL's trainers have none
        if votes is not None:
            return bool(votes.passed())
        votes = torch.tensor([int(requested)], device=self.trainer.args.device)
        return bool(self.trainer.accelerator.gather(votes).sum() > 0)
