"""A mixin for transformers' trainers that saves checkpoints atomically."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from swiftbox.core.training import checkpoint
from swiftbox.core.training.best_evaluation import Judgement
from swiftbox.core.training.phase_clock import PhaseClock
from swiftbox.core.tuners.saved_config import sort_names
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import DISK_FULL, kind_of


@dataclass(frozen=True)
class RunRecorder:
    """The run folder, the function that emits its events, and the limit of its checkpoints."""

    folder: Path
    emit: Callable[..., None]
    save_total_limit: int
    clock: PhaseClock | None = None


class AtomicCheckpoints:
    """Saves checkpoints atomically and trains no step too many when it resumes from the last one.

    Goes before transformers.Trainer in the bases of a class.
    """

    record: RunRecorder
    judgement: Judgement | None = None
    """How evaluations are compared; None if they are not."""
    save_folder: Path | None = None
    args: Any
    state: Any
    control: Any
    model: Any
    optimizer: Any
    accelerator: Any

    def _get_output_dir(self, trial: Any) -> str:
        if self.save_folder:
            return str(self.save_folder)
        folder: str = super()._get_output_dir(trial)  # type: ignore[misc]  # Trainer's
        return folder

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint to a temporary folder, seal and rename it, delete the oldest."""
        folder = Path(self.args.output_dir)
        partial = folder / run_folder.PARTIAL
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        last = next(reversed(run_folder.checkpoints(self.record.folder)), None)
        needed = checkpoint.bytes_needed(self.model, self.optimizer)
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            checkpoint.require_checkpoint_room(folder, needed, last=last)
        self._barrier()
        self.save_folder = partial
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]  # Trainer's
            self._barrier()
            if self.args.should_save:
                settled = self.record.folder / run_folder.SETTLED
                checkpoint.seal(partial / name, folder / name, settled, self.state.global_step)
        except (OSError, RuntimeError, SafetensorError) as error:
            if kind_of(error) != DISK_FULL:
                raise
            failure = checkpoint.disk_full_error(folder, needed, last)
            shutil.rmtree(partial, ignore_errors=True)
            raise failure from error
        finally:
            self.save_folder = None
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
            best = self._best_step()
            checkpoint.keep_newest(self.record.folder, self.record.save_total_limit, best=best)
            step = self.state.global_step
            fields = {"best": step == best} if best is not None else {}
            self.record.emit(events.CHECKPOINT, step=step, path=str(folder / name), **fields)
        self._barrier()

    def _best_step(self) -> int | None:
        """Return the update of the best evaluation; None if its checkpoint need not be kept."""
        if self.judgement is None or not self.judgement.keeps:
            return None
        return self.judgement.judge(self.state.log_history).step

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)  # type: ignore[misc]  # Trainer's
        folder = Path(output_dir or self.args.output_dir)
        # A pickle of the arguments: settled.yaml has the same content and cannot run code.
        (folder / "training_args.bin").unlink(missing_ok=True)
        sort_names(folder)

    def _run_epoch(self, **arguments: Any) -> None:
        """Train an epoch, or nothing if the checkpoint was that of the last step.

        transformers looks at the number of steps only after a step.
        """
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**arguments)  # type: ignore[misc]  # Trainer's
        else:
            self.control.should_training_stop = True

    def _barrier(self) -> None:
        if self.args.world_size > 1:
            self.accelerator.wait_for_everyone()
