"""Checkpoints that are whole or not there: written aside, marked complete, then renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from swiftbox.errors import RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs import folder as run_folder

ASIDE = ".partial"
SPARE_BYTES = 2 * 2**20
"""Left free beside a checkpoint, for the log and the events that report a full disk."""


def seal(partial: Path, final: Path, settled: Path, step: int) -> None:
    """Mark a checkpoint complete, force it to disk, and give it its name in one step."""
    if settled.is_file():
        shutil.copyfile(settled, partial / run_folder.SETTLED)
    sizes = {}
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            _sync(path)
            sizes[str(path.relative_to(partial))] = path.stat().st_size
    write_json(partial / run_folder.COMPLETE, {"step": step, "files": sizes})
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def intact(checkpoint: Path) -> bool:
    """Tell whether every file named by the marker is there in its full size."""
    sizes = read_json(checkpoint / run_folder.COMPLETE).get("files", {})
    return bool(sizes) and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )


def last_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that is whole, and the names of newer ones that are not."""
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
    """Delete what lies behind the point of resume: torn checkpoints and half-written ones."""
    checkpoints = folder / run_folder.CHECKPOINTS
    shutil.rmtree(checkpoints / ASIDE, ignore_errors=True)
    for path in checkpoints.glob("checkpoint-*"):
        if _step(path.name) > step:
            shutil.rmtree(path, ignore_errors=True)


def keep_newest(folder: Path, limit: int) -> None:
    """Delete the oldest complete checkpoints beyond the limit."""
    for checkpoint in run_folder.checkpoints(folder)[:-limit]:
        shutil.rmtree(checkpoint)


def bytes_needed(model: Any, optimizer: Any) -> int:
    """Estimate the size of a checkpoint: what is saved, and the optimizer's state.

    Of an adapter that is what is trained; a model without one is saved whole, frozen parts too.
    """
    whole = not hasattr(model, "peft_config")
    trained = [one for one in model.parameters() if whole or one.requires_grad]
    weights = sum(one.numel() * one.element_size() for one in trained)
    state = 0
    if optimizer is not None:
        for values in optimizer.state.values():
            for one in values.values():
                if hasattr(one, "element_size"):
                    state += one.numel() * one.element_size()
    return weights + state


def require_room(where: Path, needed: int, *, kept: Path | None) -> None:
    """Raise RunError with both numbers when a checkpoint would not fit on the disk."""
    free = shutil.disk_usage(where).free
    if free >= needed + SPARE_BYTES:
        return
    raise full_disk(where, needed, free, kept)


def full_disk(where: Path, needed: int, free: int, kept: Path | None) -> RunError:
    """Describe a disk too full for a checkpoint, and what is still whole."""
    whole = kept.name if kept else text("none yet", "尚无")
    return RunError(
        text(
            f"no space left on device for a checkpoint: {mebibytes(needed)} needed, "
            f"{mebibytes(free)} free in {where}; last complete checkpoint: {whole}",
            f"磁盘空间不足（no space left on device），无法保存检查点：需要 {mebibytes(needed)}，"
            f"{where} 剩余 {mebibytes(free)}；最后的完整检查点：{whole}",
        ),
        hint=text(
            f"free at least {mebibytes(needed + SPARE_BYTES)}, then `swiftbox runs resume`",
            f"至少腾出 {mebibytes(needed + SPARE_BYTES)}，然后 `swiftbox runs resume`",
        ),
    )


def mebibytes(count: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{count / 2**20:.1f} MiB"
