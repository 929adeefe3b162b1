"""Files that survive interruption: atomic writes, JSON, locks between processes, disk space.

Also how a path that cannot be used is reported.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from swiftbox.errors import UserError
from swiftbox.language import cache_home, text

# ---- atomic writes: beside the target, under a name that nobody reads, then one rename
#
# The writer holds a lock on what it writes until the rename. The kernel releases the lock when
# the writer dies, so a temporary file or folder that can be locked was abandoned.

TEMPORARY = ".tmp-"
MARK_DIGITS = 8
LONGEST_STEM = 50
"""Letters of the target's name in a temporary name: even in Chinese far below 255 bytes."""


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Replace the content of a file: a reader sees the old text or the new, never a part.

    The umask reduces `mode`. Deletes what killed writers of the same file left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    sweep(path.parent, name=path.name)
    temporary, descriptor = _locked_file(path, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, to be filled and renamed; else it is deleted.

    Deletes what killed processes left behind for the same path.
    """
    sweep(path.parent, name=path.name)
    temporary, descriptor = _locked_folder(path)
    try:
        yield temporary
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path, *, name: str = "") -> None:
    """Delete abandoned temporaries in a folder: all, or those of the target `name`.

    What a living process writes, what belongs to another user, and links are left alone.
    """
    prefix = _temporary_stem(name) + TEMPORARY if name else "."
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    except OSError:
        return
    for entry in filter(is_temporary, names):
        delete_if_abandoned(folder / entry)


def sweep_below(folder: Path) -> None:
    """Delete abandoned temporaries in a folder and in all folders below it."""
    for path, _, files in os.walk(folder):
        sweep(Path(path))
        for name in filter(_names_dead_writer, files):
            delete_if_abandoned(Path(path, name))


def is_temporary(name: str) -> bool:
    """Tell whether a name is one that `write_atomic` and `folder_aside` make up."""
    stem, separator, mark = name.rpartition(TEMPORARY)
    is_marked = len(mark) == MARK_DIGITS and set(mark) <= set("0123456789abcdef")
    return bool(separator) and is_marked and stem.startswith(".") and len(stem) > 1


def is_temporary_of(name: str, target: str) -> bool:
    """Tell whether a name is that of a temporary of the file or folder `target`."""
    return is_temporary(name) and name.rpartition(TEMPORARY)[0] == _temporary_stem(target)


def _names_dead_writer(name: str) -> bool:
    """Tell whether a name is `.NAME.PID` of a dead process, as engines and old versions write."""
    stem, _, pid = name.rpartition(".")
    is_named = stem.startswith(".") and len(stem) > 1 and pid.isascii() and pid.isdigit()
    return is_named and not is_alive(int(pid))


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine exists; yes where the system does not say."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _temporary_stem(name: str) -> str:
    return f".{name[:LONGEST_STEM]}"


def _temporary_beside(path: Path) -> Path:
    mark = os.urandom(MARK_DIGITS // 2).hex()
    return path.with_name(f"{_temporary_stem(path.name)}{TEMPORARY}{mark}")


def _locked_file(path: Path, mode: int) -> tuple[Path, int]:
    """Create a temporary file beside a path; return it and its locked descriptor."""
    while True:
        temporary = _temporary_beside(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if _lock_new(temporary, descriptor):
            return temporary, descriptor


def _locked_folder(path: Path) -> tuple[Path, int]:
    """Create a temporary folder beside a path; return it and its locked descriptor."""
    while True:
        temporary = _temporary_beside(path)
        temporary.mkdir()
        with contextlib.suppress(FileNotFoundError):  # swept before it was locked
            descriptor = os.open(temporary, os.O_RDONLY)
            if _lock_new(temporary, descriptor):
                return temporary, descriptor


def _lock_new(temporary: Path, descriptor: int) -> bool:
    """Lock a new temporary; close it and return False if a sweep was faster."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), temporary.stat()):
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a network disk without locks: there a sweep cannot lock either
        return True
    os.close(descriptor)
    return False


def delete_if_abandoned(temporary: Path) -> None:
    """Delete a temporary file or folder of this user unless its writer lives."""
    import fcntl

    try:  # NONBLOCK: opening a pipe waits for its writer
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(temporary, ignore_errors=True)
        elif stat.S_ISREG(status.st_mode):
            temporary.unlink()
    except OSError:  # its writer lives, or another sweep was faster
        pass
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, atomically."""
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON mapping; an absent or torn file, or something else than a file, is empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_writable(folder: Path) -> bool:
    """Create a private folder if it is absent; return whether files can be written into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- locks: released by the kernel when the process ends, however it ends


MAX_LOCK_NAME_BYTES = 200
"""Below what file systems allow, with room for a temporary ending."""


class LockedError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def file_lock(
    path: Path, *, wait: bool = True, on_wait: Callable[[], None] | None = None
) -> Iterator[IO[str]]:
    """Hold a lock that excludes other processes; yield the open lock file.

    Calls `on_wait` once if another process holds it. Raises LockedError if `wait` is
    false, OSError for a link or a special file. Opens the lock file again if it was deleted between
    opening and locking.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a", encoding="utf-8", opener=_not_through_a_link) as file:
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


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)


def named_lock(name: str) -> Path:
    """Return the path of a lock that all processes of this user share."""
    plain_name = "".join(letter if letter.isalnum() else "-" for letter in name)
    if len(plain_name.encode(errors="replace")) > MAX_LOCK_NAME_BYTES:
        import zlib

        number = zlib.crc32(name.encode(errors="surrogateescape"))
        plain_name = f"{plain_name[: MAX_LOCK_NAME_BYTES // 4]}-{number:08x}"
    return cache_home() / "locks" / plain_name


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


REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES EPERM EROFS ENOTDIR EISDIR ENOSPC EDQUOT ENAMETOOLONG ELOOP ENXIO EIO EINVAL EFBIG "
        "EMFILE"
    ).split()
)
"""Reasons that lie in the path or its disk, and not in the program."""


def reason_of(error: OSError) -> str:
    """Return why the system refused a path, in the current language."""
    reasons = {
        errno.EACCES: text("permission denied", "没有权限"),
        errno.EPERM: text("permission denied", "没有权限"),
        errno.EROFS: text("the disk is read-only", "磁盘为只读"),
        errno.ENOTDIR: text("a part of the path is a file", "路径中有一段是文件"),
        errno.EISDIR: text("it is a folder", "这是目录"),
        errno.ENOSPC: text("no space left on the disk", "磁盘空间不足"),
        errno.EDQUOT: text("the disk quota is used up", "磁盘配额已用完"),
        errno.ENAMETOOLONG: text("the name is too long", "名称过长"),
        errno.ELOOP: text("links that lead to each other", "符号链接循环"),
        errno.ENXIO: text("it is a socket or device", "这是套接字或设备"),
        errno.EBADF: text("it is closed", "已关闭"),
        errno.EIO: text("the disk or device reports an error", "磁盘或设备报告错误"),
        errno.EMFILE: text("too many open files (`ulimit -n`)", "打开的文件过多（`ulimit -n`）"),
    }
    return reasons.get(error.errno or 0) or error.strerror or str(error)


@contextlib.contextmanager
def explain_refused_paths() -> Iterator[None]:
    """Raise UserError for a path that the user may not read or write, or that cannot exist."""
    try:
        yield
    except OSError as error:
        is_refusal = error.errno in REFUSALS
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
    except RuntimeError as error:
        if NO_HOME not in str(error):
            raise
        raise UserError(
            text("a path begins with ~ and names no user", "以 ~ 开头的路径没有对应的用户"),
            hint=text("write the path in full", "请写完整路径"),
        ) from None


NO_HOME = "Could not determine home directory"
"""How pathlib begins when it cannot replace `~user`."""


def _existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it whose permissions can be looked up."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            candidate.stat()
            return candidate
    return path
