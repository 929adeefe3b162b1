"""Locks between processes, and room on a disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.language import home, text


def free_bytes(folder: Path) -> int:
    """Return how much room is left on the disk that a folder is, or would be, on."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(there).free


def require_room(name: str, folder: Path, needed: int) -> None:
    """Raise HubError, with both numbers, when the disk is too small for what remains to fetch."""
    free = free_bytes(folder)
    if needed <= free:
        return
    raise HubError(
        text(
            f"{name}: {size(needed)} to fetch, {size(free)} free at {folder}; nothing was fetched",
            f"{name}：还需下载 {size(needed)}，{folder} 仅剩 {size(free)}；未下载任何内容",
        ),
        hint=text(
            "free some room, or choose another disk: local_dir (download), MODELSCOPE_CACHE or "
            "HF_HOME in the environment",
            "请清理磁盘，或换用其他磁盘：local_dir（下载任务），或环境变量 "
            "MODELSCOPE_CACHE、HF_HOME",
        ),
    )


def size(count: int) -> str:
    """Write a number of bytes for people, with decimal units as shops and hubs do."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} TB"


@contextlib.contextmanager
def file_lock(what: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock by name, across processes; call `on_wait` once if another process holds it."""
    import fcntl

    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    safe = "".join(letter if letter.isalnum() else "-" for letter in what)
    with (folder / safe).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
