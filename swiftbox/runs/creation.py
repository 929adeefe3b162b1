"""Make a run folder: filled aside and renamed in one step, so a kill leaves a run or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from swiftbox.errors import RunError
from swiftbox.files import (
    LockedError,
    delete_if_abandoned,
    file_lock,
    folder_aside,
    is_temporary,
    sweep,
    sweep_below,
)
from swiftbox.language import home, text
from swiftbox.runs.folder import (
    ASKED,
    CHECKPOINTS,
    ESTIMATE,
    EXTENSION,
    INPUTS,
    MACHINE,
    MODEL,
    PARTIAL,
    REASONS,
    SETTLED,
    SPLIT,
    STATE,
    VERSIONS,
    WORK,
    register,
)
from swiftbox.security.private import PRIVATE_FOLDER

FIRST_FILES = (
    ASKED,
    SETTLED,
    MACHINE,
    VERSIONS,
    REASONS,
    ESTIMATE,
    STATE,
    EXTENSION,
    INPUTS,
    SPLIT,
)
"""The files that a run folder has before its process starts; the last three if it extends a run."""

TOKENS = "cache/tokens"
"""The cache of encoded datasets in the user's state; each has a lock of the same name."""

HOME_FOLDERS = ("cache", TOKENS, "chats", "locks", "runs", "shapes", "verified")
"""Folders of the user's state that hold small files; environments of engines are not searched."""

STARTING = ".starting"
"""Exists while an empty folder that the user made is filled with the first files."""


def no_files(folder: Path) -> None:
    """Fill a new run folder with nothing."""


def create(folder: Path, fill: Callable[[Path], None] = no_files) -> Path:
    """Make a run folder, or the next free name (`NAME-2`); register it for `runs list`.

    `fill` writes the first files into the folder that it is passed. They appear together with the
    run's name, in one step: a process that is killed before leaves no run and takes no name.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep_starts(folder.parent)
        if _fill_in_place(folder, fill):
            return folder
        with folder_aside(folder) as aside:
            aside.chmod(PRIVATE_FOLDER)
            fill(aside)
            return _rename_to_free_name(aside, folder)
    except OSError as error:
        raise RunError(
            text(f"cannot create {folder}: {error}", f"无法创建 {folder}：{error}"),
            hint=text("choose another output_dir", "请更换 output_dir"),
        ) from None


def _sweep_starts(parent: Path) -> None:
    """Delete the run folders beside a new one whose processes were killed while filling them."""
    with contextlib.suppress(OSError):  # folders that only other users may read
        for path in parent.iterdir():
            if not is_temporary(path.name) or not path.is_dir() or path.is_symlink():
                continue
            names = {entry.name for entry in path.iterdir() if not is_temporary(entry.name)}
            if names <= {CHECKPOINTS, *FIRST_FILES}:
                delete_if_abandoned(path)


def _rename_to_free_name(aside: Path, requested: Path) -> Path:
    """Give a filled folder its name; return it. It is registered first, so that no run is lost."""
    folder, number = requested, 1
    while True:
        if not os.path.lexists(folder):
            link = register(folder)
            try:
                aside.rename(folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    if link is not None:
                        link.unlink(missing_ok=True)
                    raise
            else:
                return folder
        number += 1
        folder = requested.with_name(f"{requested.name}-{number}")


def _fill_in_place(folder: Path, fill: Callable[[Path], None]) -> bool:
    """Fill a folder that exists and is empty, such as a mounted disk, which cannot be renamed.

    The marker STARTING, which is deleted last, lets the next run take over an unfinished start.
    Returns False if the folder does not exist, has other files, or is being filled.
    """
    if not folder.is_dir() or not _may_be_filled(folder):
        return False
    try:
        with file_lock(folder / STARTING, wait=False):
            if not _may_be_filled(folder):
                return False
            _empty(folder)
            register(folder)
            try:
                fill(folder)
            except BaseException:
                _empty(folder)
                (folder / STARTING).unlink()
                raise
            (folder / STARTING).unlink()
            return True
    except LockedError:
        return False


def _may_be_filled(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir() if not is_temporary(path.name)}
    return not names or (STARTING in names and names <= {STARTING, CHECKPOINTS, *FIRST_FILES})


def _empty(folder: Path) -> None:
    for name in FIRST_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    sweep(folder)


def discard_unfinished(folder: Path) -> None:
    """Delete what a dead process of a run left half-written; its supervisor calls this.

    Parts of a download stay: the next one continues them.
    """
    unfinished = [folder / f".{MODEL}", folder / CHECKPOINTS / PARTIAL, folder / STARTING]
    for path in (*unfinished, *(folder / WORK).glob(".*")):
        if path.parent.is_symlink():  # in the folder of a stranger it may lead anywhere
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    sweep_below(folder)


def sweep_home() -> None:
    """Delete what killed processes left half-written in the folders of the user's state."""
    for folder in (home(), *(home() / name for name in HOME_FOLDERS)):
        sweep(folder)
    for partial in (home() / TOKENS).glob(f"*{PARTIAL}"):
        lock = file_lock(partial.with_suffix(".lock"), wait=False)
        with contextlib.suppress(LockedError, OSError), lock:  # locked: it is being written
            partial.unlink(missing_ok=True)
