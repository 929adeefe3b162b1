"""Which evaluation of a training was the best, and how many after it were no better.

Everything is read from the history of logs, which every checkpoint holds: a resumed training
counts as an uninterrupted one does, and no other state can disagree with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from swiftbox.config.best_model import endless_patience
from swiftbox.config.train import TrainConfig
from swiftbox.core.training import checkpoint
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit


@dataclass(frozen=True)
class Judgement:
    """How evaluations are compared."""

    metric: str
    greater: bool = False
    threshold: float = 0.0
    patience: int | None = None
    keeps: bool = True
    """Whether the best checkpoint is kept and becomes the result."""
    since: int = 0
    """Evaluations up to this update do not count for patience: those before an extension."""

    @classmethod
    def of(cls, config: TrainConfig, since: int = 0) -> Judgement | None:
        """Return how a training judges its evaluations; None if it does not."""
        if not config.best_of_evaluations:
            return None
        return cls(
            config.best_metric,
            config.prefers_greater,
            config.early_stopping_threshold,
            config.early_stopping_patience,
            config.keeps_best,
            since,
        )

    def judge(self, history: Iterable[Mapping[str, Any]]) -> Verdict:
        """Judge the evaluations in a history of logs, oldest first."""
        best, step, count, waited = math.nan, None, 0, 0
        for entry in history:
            value = entry.get(f"eval_{self.metric}")
            if value is None:
                continue
            gain = value - best if self.greater else best - value
            improves = step is None or gain > self.threshold
            if math.isnan(value):
                improves = False
            elif step is None or gain > 0:
                best, step = float(value), int(entry["step"])
            count += 1
            waited = 0 if improves or entry["step"] <= self.since else waited + 1
        return Verdict(step, best, count, waited)

    def is_over(self, verdict: Verdict) -> bool:
        """Return whether too many evaluations in a row were no better."""
        return self.patience is not None and verdict.waited >= self.patience


@dataclass(frozen=True)
class Verdict:
    """The best evaluation so far."""

    step: int | None
    """The update it came after; None if there was none with a number."""
    value: float
    evaluations: int
    waited: int
    """Evaluations in a row, up to the last, without improvement."""


class BestEvaluation(TrainerCallback):
    """Saves a checkpoint after the best evaluation so far, and ends a training that waits."""

    def __init__(self, judgement: Judgement, emit: Emit, *, saves: bool) -> None:
        """Judge by `judgement`; `saves` is whether the training saves checkpoints anyway."""
        self.judgement = judgement
        self.emit = emit
        self.saves = saves
        self.is_over = False

    def on_train_begin(self, _args: Any, state: Any, control: Any, **_others: Any) -> None:
        """End a resumed training that had ended; warn of a patience that cannot run out."""
        judgement = self.judgement
        if judgement.is_over(judgement.judge(state.log_history)):
            self.is_over = control.should_training_stop = True
        planned = -(-(state.max_steps - judgement.since) // max(1, round(state.eval_steps)))
        if judgement.patience is not None and planned <= judgement.patience:
            self.emit(
                events.WARNING,
                key="early_stopping_patience",
                message=endless_patience(planned, judgement.patience),
            )

    def on_evaluate(self, _args: Any, state: Any, control: Any, **_others: Any) -> None:
        """Save the best so far; stop if the patience has run out."""
        judgement = self.judgement
        verdict = judgement.judge(state.log_history)
        if judgement.keeps and verdict.step == state.global_step:
            control.should_save = True
        if judgement.is_over(verdict) and state.global_step < state.max_steps:
            self.is_over = control.should_training_stop = True
            control.should_save = control.should_save or self.saves
            message = _stops(verdict, judgement)
            self.emit(events.NOTE, key="early_stopping_patience", message=message)


def load_best(trainer: Any, judgement: Judgement, folder: Path, emit: Emit) -> Verdict | None:
    """Load the weights of the best checkpoint; return its verdict, None if there is none."""
    verdict = judgement.judge(trainer.state.log_history)
    of_best = (
        path for path in run_folder.checkpoints(folder) if run_folder.step_of(path) == verdict.step
    )
    path = next(filter(checkpoint.intact, of_best), None)
    if path is None:
        emit(events.WARNING, key="load_best_model_at_end", message=_no_best(verdict))
        return None
    if verdict.step != trainer.state.global_step:
        trainer._load_from_checkpoint(str(path))
    return verdict


def _stops(verdict: Verdict, judgement: Judgement) -> str:
    number = counted(verdict.waited, "evaluation")
    return text(
        f"stops early: {number} in a row without a better {judgement.metric} than "
        f"{verdict.value:.4f} at step {verdict.step}",
        f"提前停止：连续 {verdict.waited} 次评估的 {judgement.metric} 都不优于第 {verdict.step} "
        f"步的 {verdict.value:.4f}",
    )


def _no_best(verdict: Verdict) -> str:
    if verdict.step is None:
        return text(
            "no evaluation gave a number, so the result is the last update",
            "没有任何评估得到数值，结果取最后一步",
        )
    return text(
        f"checkpoint-{verdict.step} was the best and is missing or incomplete; the result is the "
        "last update",
        f"最好的 checkpoint-{verdict.step} 缺失或不完整；结果取最后一步",
    )
