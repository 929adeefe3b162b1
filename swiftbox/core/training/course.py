"""The course of a training: its schedule, when it ends early, and which update is the result."""

from __future__ import annotations

from functools import partial
from typing import Any

from swiftbox.config.schedule_curve import scheduler_arguments
from swiftbox.config.train import TrainConfig
from swiftbox.core.training.atomic_checkpoints import RunRecorder
from swiftbox.core.training.best_evaluation import BestEvaluation, Judgement, load_best
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record


def set_course(trainer: Any, config: TrainConfig, record: RunRecorder) -> None:
    """Give a trainer its schedule, and the judgement of its evaluations if there is one."""
    step = read_record(record.folder / run_folder.EXTENSION).get("step")
    trainer.schedule_arguments = partial(scheduler_arguments, config)
    trainer.extended_from = step if isinstance(step, int) else None
    trainer.judgement = Judgement.of(config, since=trainer.extended_from or 0)
    if trainer.judgement is not None:
        saves = config.save_steps > 0
        trainer.add_callback(BestEvaluation(trainer.judgement, record.emit, saves=saves))


def result_of(trainer: Any, record: RunRecorder) -> dict[str, Any]:
    """Load the best update if it is the result; return what the end of the run says of it."""
    judgement = trainer.judgement
    if judgement is None or not judgement.keeps:
        return {}
    verdict = load_best(trainer, judgement, record.folder, record.emit)
    if verdict is None:
        return {}
    best = {"best_step": verdict.step, "metric": judgement.metric, "best": verdict.value}
    return {**best, "evaluations": verdict.evaluations}
