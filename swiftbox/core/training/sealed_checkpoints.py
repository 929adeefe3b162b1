"""Checkpoints of transformers' trainers, written aside, sealed and renamed; for any trainer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from swiftbox.core.training import checkpoint
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import DISK_FULL, kind_of


@dataclass(frozen=True)
class Record:
    """The run folder, how events are recorded, and how many checkpoints are kept."""

    folder: Path
    emit: Callable[..., None]
    save_total_limit: int


class WholeCheckpoints:
    """Goes before transformers.Trainer, or a trainer made of it, in a class's bases."""

    record: Record
    saving_in: Path | None = None
    args: Any
    state: Any
    model: Any
    optimizer: Any
    accelerator: Any

    def _get_output_dir(self, trial: Any) -> str:
        if self.saving_in:
            return str(self.saving_in)
        found: str = super()._get_output_dir(trial)  # type: ignore[misc]  # Trainer's
        return found

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint aside, mark it complete, rename it, then drop the oldest."""
        folder = Path(self.args.output_dir)
        aside = folder / checkpoint.ASIDE
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        kept = run_folder.checkpoints(self.record.folder)
        needed = checkpoint.bytes_needed(self.model, self.optimizer)
        newest = kept[-1] if kept else None
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.require_room(folder, needed, kept=newest)
        self._barrier()
        self.saving_in = aside
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]  # Trainer's
            self._barrier()
            if self.args.should_save:
                settled = self.record.folder / run_folder.SETTLED
                checkpoint.seal(aside / name, folder / name, settled, self.state.global_step)
        except (OSError, RuntimeError, SafetensorError) as error:
            if kind_of(error) != DISK_FULL:
                raise
            free = shutil.disk_usage(folder).free
            shutil.rmtree(aside, ignore_errors=True)
            raise checkpoint.full_disk(folder, needed, free, newest) from error
        finally:
            self.saving_in = None
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.keep_newest(self.record.folder, self.record.save_total_limit)
            self.record.emit(
                events.CHECKPOINT, step=self.state.global_step, path=str(folder / name)
            )
        self._barrier()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)  # type: ignore[misc]  # Trainer's
        # A pickle of the arguments; settled.yaml says the same and cannot run code.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)

    def _barrier(self) -> None:
        if self.args.world_size > 1:
            self.accelerator.wait_for_everyone()
