"""Files that survive interruption: atomic writes, JSON, locks between processes, disk space.

Also how a path that cannot be used is reported.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from swiftbox.errors import UserError
from swiftbox.language import home, text

# ---- atomic writes


def write_atomic(path: Path, content: str) -> None:
    """Replace the content of a file: a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, atomically."""
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON mapping; an absent or torn file is empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- locks: released by the kernel when the process ends, however it ends


class LockedError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def file_lock(
    path: Path, *, wait: bool = True, on_wait: Callable[[], None] | None = None
) -> Iterator[IO[str]]:
    """Hold a lock that excludes other processes; yield the open lock file.

    Calls `on_wait` once if another process holds it. Raises LockedError if `wait` is
    false. Opens the lock file again if it was deleted between opening and locking.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise LockedError(str(path)) from None
                if on_wait is not None:
                    on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def named_lock(name: str) -> Path:
    """Return the path of a lock that all processes of this user share."""
    return home() / "locks" / "".join(letter if letter.isalnum() else "-" for letter in name)


# ---- disk space

SPARE_BYTES = 64 * 2**20
"""For the small files beside new weights, and for other programs that write to the disk."""


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that holds a folder, or will once it exists."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def require_room(folder: Path, needed: int, refusal: Callable[[int, int], UserError]) -> None:
    """Raise what `refusal(needed, free)` returns if the disk of a folder has less than `needed`.

    Both are bytes.
    """
    free = free_bytes(folder)
    if free < needed:
        raise refusal(needed, free)


# ---- paths that cannot be used


def reason_of(error: OSError) -> str:
    """Return why the system refused a path, in the current language."""
    reasons = {
        errno.EACCES: text("permission denied", "没有权限"),
        errno.EPERM: text("permission denied", "没有权限"),
        errno.EROFS: text("the disk is read-only", "磁盘为只读"),
        errno.ENOTDIR: text("a part of the path is a file", "路径中有一段是文件"),
        errno.EISDIR: text("it is a folder", "这是目录"),
        errno.ENOSPC: text("no space left on the disk", "磁盘空间不足"),
    }
    return reasons.get(error.errno or 0) or error.strerror or str(error)


@contextlib.contextmanager
def explain_refused_paths() -> Iterator[None]:
    """Raise UserError for a path that the user may not read or write, or that cannot exist."""
    try:
        yield
    except OSError as error:
        is_refusal = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
        if not is_refusal or not isinstance(error.filename, (str, os.PathLike)):
            raise
        path, reason = Path(error.filename), reason_of(error)
        place = _existing(path)
        raise UserError(
            text(f"cannot use {path}: {reason}", f"无法使用 {path}：{reason}"),
            hint=text(
                f"see `ls -ld {place}`, or give another path",
                f"请查看 `ls -ld {place}`，或改用其他路径",
            ),
        ) from None


def _existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it whose permissions can be looked up."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            candidate.stat()
            return candidate
    return path
