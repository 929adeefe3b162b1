"""What a run that extends another takes over from it: its last checkpoint, and what that needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.core.training.checkpoint import seal
from swiftbox.errors import DiskFullError
from swiftbox.files import require_room, write_json
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.runs import folder as run_folder

TAKEN_OVER = (run_folder.INPUTS, run_folder.SPLIT)
"""The inputs, which must not have changed since, and the micro-batch that fits."""


@dataclass(frozen=True)
class Extension:
    """The run that is extended, and its checkpoints that the new run begins with."""

    folder: Path
    checkpoints: tuple[Path, ...]
    """The last complete one; before it the best one, if the best is kept."""

    @property
    def step(self) -> int:
        """Return the update of the last checkpoint."""
        return run_folder.step_of(self.checkpoints[-1])

    def copy_to(self, folder: Path) -> None:
        """Write what is taken over into a new run folder, whose settings are there already.

        The copies carry the settings of the new run, which resumes from them as from its own.
        """
        sizes = [path.stat().st_size for path in self._files()]
        require_room(folder, sum(sizes), lambda needed, free: _no_room(folder, needed, free))
        for name in TAKEN_OVER:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
        target = folder / run_folder.CHECKPOINTS
        for checkpoint in self.checkpoints:
            partial = target / run_folder.PARTIAL
            shutil.copytree(checkpoint, partial)
            (partial / run_folder.COMPLETE).unlink()
            settled, step = folder / run_folder.SETTLED, run_folder.step_of(checkpoint)
            seal(partial, target / checkpoint.name, settled, step)
        record = {"run": str(self.folder), "step": self.step}
        write_json(folder / run_folder.EXTENSION, record)

    def _files(self) -> Iterator[Path]:
        for checkpoint in self.checkpoints:
            yield from (path for path in checkpoint.rglob("*") if path.is_file())


def _no_room(folder: Path, needed: int, free: int) -> DiskFullError:
    return DiskFullError(
        text(
            f"no space left on device to copy the checkpoint: {size(needed)} needed, {size(free)} "
            f"free in {folder}",
            f"磁盘空间不足，无法复制检查点：需要 {size(needed)}，{folder} 剩余 {size(free)}",
        ),
        hint=text("set output_dir to a folder on another disk", "将 output_dir 设到其他磁盘"),
    )
