"""What a run says while it trains: events for the record and the view; stopping when asked."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from swiftbox.runs import events
from swiftbox.runs.stop import STOP

WINDOW = 20
"""Steps over which the time per step is averaged for the estimate of what is left."""


WATCHED = re.compile(r"(rewards|completions)/|kl$|reward")
"""Names of metrics that a method watches."""


def peak_memory_bytes() -> int:
    """Return the peak memory of this process: of its accelerator, else of its resident set."""
    if torch.accelerator.is_available():
        return int(torch.accelerator.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def metrics_of(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return what a method watches, such as rewards/accuracies."""
    return {
        name.removeprefix(prefix): round(value, 6)
        for name, value in logs.items()
        if name.startswith(prefix) and WATCHED.match(name.removeprefix(prefix))
    }


class Progress(TrainerCallback):
    """Records each logged step, and stops the run between two steps when asked."""

    def __init__(self, emit: Callable[..., None]) -> None:
        self.emit = emit
        self.trainer: Any = None
        self.stamps: list[tuple[float, int]] = []
        self.was_stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say where the run begins; from here on there is something to save."""
        self.stamps = [(time.monotonic(), self.trainer.tokens_seen)]
        self.emit(
            events.START,
            total_steps=state.max_steps,
            epochs=state.num_train_epochs,
            rows=len(self.trainer.train_dataset),
            resumed_from=state.global_step or None,
            memory_bytes=peak_memory_bytes(),
        )
        STOP.can_save.set()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the order of this epoch, however deep the sampler is wrapped."""
        sampler = getattr(self.trainer, "sampler", None)  # an engine's own trainer has its own
        if sampler is not None:
            sampler.epoch = int(state.epoch or 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time, and save and stop when asked."""
        self.stamps = [*self.stamps[-WINDOW:], (time.monotonic(), self.trainer.tokens_seen)]
        if state.global_step < state.max_steps and self._asked():
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
        """Record a step or a measurement."""
        logs = logs or {}
        if "eval_loss" in logs:
            metrics = metrics_of(logs, "eval_")
            self.emit(events.EVAL, step=state.global_step, loss=logs["eval_loss"], metrics=metrics)
        if "loss" not in logs:
            return
        (first, tokens_then), (last, tokens_now) = self.stamps[0], self.stamps[-1]
        elapsed = max(last - first, 1e-9)
        per_step = elapsed / max(1, len(self.stamps) - 1)
        tokens_per_s = (tokens_now - tokens_then) / elapsed * args.world_size
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

    def _asked(self) -> bool:
        """Agree between all processes: each must stop at the same step."""
        asked = STOP.requested.is_set()
        if self.trainer.args.world_size == 1:
            return asked
        votes = torch.tensor([int(asked)], device=self.trainer.args.device)
        return bool(self.trainer.accelerator.gather(votes).sum() > 0)
