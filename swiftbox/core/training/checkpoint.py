"""Checkpoints that are complete or absent: written to a temporary folder, sealed, renamed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from swiftbox.errors import DiskFullError
from swiftbox.files import free_bytes, require_room, sync_folder, write_json
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record
from swiftbox.security.paths import fault_of_relative

LOG_BYTES = 2 * 2**20
"""Space left free for the log and the events that report a full disk."""


def seal(partial: Path, final: Path, settled: Path, step: int) -> None:
    """Flush a checkpoint to disk, write its completeness marker, and rename it to `final`."""
    if settled.is_file():
        shutil.copyfile(settled, partial / run_folder.SETTLED)
    sizes = {}
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            sync_folder(path)
            sizes[str(path.relative_to(partial))] = path.stat().st_size
    write_json(partial / run_folder.COMPLETE, {"step": step, "files": sizes})
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    sync_folder(final.parent)


def intact(checkpoint: Path) -> bool:
    """Whether every file listed by the completeness marker exists with its recorded size."""
    sizes = read_record(checkpoint / run_folder.COMPLETE).get("files", {})
    return bool(sizes) and all(
        not fault_of_relative(name, hidden=True)
        and (checkpoint / name).is_file()
        and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )


def last_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest complete checkpoint, and the names of newer incomplete ones."""
    torn = [
        path.name
        for path in (folder / run_folder.CHECKPOINTS).glob("checkpoint-*")
        if not (path / run_folder.COMPLETE).is_file()
    ]
    for checkpoint in reversed(run_folder.checkpoints(folder)):
        if intact(checkpoint):
            newer = [name for name in torn if _step(name) > run_folder.step_of(checkpoint)]
            return checkpoint, sorted(newer)
        torn.append(checkpoint.name)
    return None, sorted(torn)


def _step(name: str) -> int:
    tail = name.removeprefix("checkpoint-")
    return int(tail) if tail.isdigit() else -1


def discard_after(folder: Path, step: int) -> None:
    """Delete everything after the checkpoint to resume from: incomplete and partial ones."""
    checkpoints = folder / run_folder.CHECKPOINTS
    shutil.rmtree(checkpoints / run_folder.PARTIAL, ignore_errors=True)
    for path in checkpoints.glob("checkpoint-*"):
        if _step(path.name) > step:
            shutil.rmtree(path, ignore_errors=True)


def keep_newest(folder: Path, limit: int, *, best: int | None = None) -> None:
    """Delete the oldest complete checkpoints beyond the limit.

    The newest and that of the `best` update always stay; the limit counts both.
    """
    complete = run_folder.checkpoints(folder)
    staying = [path for path in complete if run_folder.step_of(path) == best]
    for checkpoint in reversed(complete):
        if checkpoint in staying:
            continue
        if len(staying) < limit or checkpoint == complete[-1]:
            staying.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)


def bytes_needed(model: Any, optimizer: Any) -> int:
    """Estimate the size of a checkpoint: the saved weights and the optimizer state.

    With an adapter only the trained weights are saved, otherwise all of them.
    """
    saves_all = not hasattr(model, "peft_config")
    saved = [weight for weight in model.parameters() if saves_all or weight.requires_grad]
    total = sum(weight.numel() * weight.element_size() for weight in saved)
    if optimizer is not None:
        for state in optimizer.state.values():
            for value in state.values():
                if hasattr(value, "element_size"):
                    total += value.numel() * value.element_size()
    return total


def require_checkpoint_room(folder: Path, needed: int, *, last: Path | None) -> None:
    """Raise DiskFullError with both sizes if a checkpoint would not fit on the disk.

    `last` is the last complete checkpoint.
    """

    def refusal(_needed: int, _free: int) -> DiskFullError:
        return disk_full_error(folder, needed, last)

    require_room(folder, needed + LOG_BYTES, refusal)


def disk_full_error(folder: Path, needed: int, last: Path | None) -> DiskFullError:
    """Return the error for a disk that is too full for a checkpoint."""
    last_name = last.name if last else text("none yet", "尚无")
    needed, free = needed + LOG_BYTES, free_bytes(folder)
    return DiskFullError(
        text(
            f"no space left on device for a checkpoint: {size(needed)} needed with a reserve for "
            f"the log, {size(free)} free in {folder}; last complete checkpoint: {last_name}",
            f"磁盘空间不足，无法保存检查点：连同日志预留共需 {size(needed)}，"
            f"{folder} 剩余 {size(free)}；最后的完整检查点：{last_name}",
        ),
        hint=text(
            f"free at least {size(max(needed - free, 1))} more, then `swiftbox runs resume`",
            f"至少再腾出 {size(max(needed - free, 1))}，然后 `swiftbox runs resume`",
        ),
    )
