"""Unfinished files, one for each process: two that fetch the same file never write into one.

A lock would do on most disks, but some network disks grant it to everybody. So the name says whose
a file is: `NAME.HOST-PID.incomplete`. A download takes over the bytes of a process that ended, by
a rename, which only one can win. A process of another machine has ended when its file was quiet
for longer than any pause of a transfer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from swiftbox.files import is_alive
from swiftbox.hub.listing import UNFINISHED
from swiftbox.hub.transfer_errors import MAX_REQUESTED_PAUSE_S

QUIET_S = MAX_REQUESTED_PAUSE_S + 60

HOST_DIGITS = 8


@functools.cache
def _host() -> str:
    """Return a mark of this machine, short enough for any file name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:HOST_DIGITS]


def own_name(name: str) -> str:
    """Return this process's name of the unfinished file `name`."""
    return f"{name}.{_host()}-{os.getpid()}{UNFINISHED}"


def take_over(partials: Iterable[Path], *, keep: bool = True) -> None:
    """Give this process the largest abandoned beginning of each of its unfinished files.

    The other abandoned ones are deleted, and without `keep` all.
    """
    by_folder: dict[Path, list[str]] = {}
    for partial in partials:
        by_folder.setdefault(partial.parent, []).append(partial.name)
    for folder, names in by_folder.items():
        abandoned = _abandoned_in(folder)
        for name in names:
            _take_over(folder / name, abandoned.get(_stem(name), []), keep=keep)


def _take_over(target: Path, abandoned: list[Path], *, keep: bool) -> None:
    for path in sorted(abandoned, key=_bytes_in, reverse=True):
        with contextlib.suppress(OSError):  # another process was faster
            if keep and not target.exists():
                path.replace(target)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _abandoned_in(folder: Path) -> dict[str, list[Path]]:
    """Return the unfinished files and folders of ended processes, by what they are to become."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(UNFINISHED)]
    except OSError:
        return {}
    abandoned: dict[str, list[Path]] = {}
    for name in names:
        if _is_abandoned(folder / name):
            abandoned.setdefault(_stem(name), []).append(folder / name)
    return abandoned


def _mark(name: str) -> re.Match[str] | None:
    return re.search(rf"\.([0-9a-f]{{{HOST_DIGITS}}})-(\d+){re.escape(UNFINISHED)}$", name)


def _stem(name: str) -> str:
    """Return the name that an unfinished file is to have."""
    mark = _mark(name)
    return name[: mark.start()] if mark else name.removesuffix(UNFINISHED)


def _is_abandoned(path: Path) -> bool:
    """Tell whether the process that wrote an unfinished file has ended."""
    mark = _mark(path.name)
    try:
        if path.is_symlink():
            return False
        if mark and mark[1] == _host():
            return int(mark[2]) != os.getpid() and not is_alive(int(mark[2]))
        latest = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
        return time.time() - latest > QUIET_S
    except OSError:
        return False


def _bytes_in(path: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    return 0
