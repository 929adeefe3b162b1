"""Folders 0700 and files 0600 for what may hold rows, answers, prompts, settings and keys.

swiftbox and its children run with umask 077, so that every file they write is private, also those
that libraries write. What the user shares on purpose (a YAML, a hub's cache, a folder of weights
that the user names) is written with the umask that the user has set, inside `user_umask()`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` needs no paths; importing pathlib takes 10 ms
    from pathlib import Path

PRIVATE_UMASK = 0o077
PRIVATE_FOLDER = 0o700

USER_UMASK = "SWIFTBOX_UMASK"
"""The variable that carries the user's umask to children, which inherit the private one."""


def restrict_umask() -> None:
    """Write private files from now on; called once when a process of swiftbox starts."""
    previous = os.umask(PRIVATE_UMASK)
    os.environ.setdefault(USER_UMASK, f"{previous:03o}")


@contextlib.contextmanager
def user_umask() -> Iterator[None]:
    """Write files with the umask of the user, for what may be shared with other users.

    The umask belongs to the process: no other thread may make private files meanwhile.
    """
    setting = os.environ.get(USER_UMASK, "")
    is_umask = 0 < len(setting) <= 4 and set(setting) <= set("01234567")
    if not is_umask:  # used from Python: the umask was not changed
        yield
        return
    previous = os.umask(int(setting, 8) & 0o777)
    try:
        yield
    finally:
        os.umask(previous)


def make_private(folder: Path) -> Path:
    """Create a folder that only this user can enter, also what is missing above it; return it.

    A folder that exists is not changed. Raises OSError.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            path.mkdir(mode=PRIVATE_FOLDER)
            path.chmod(PRIVATE_FOLDER)
    folder.mkdir(exist_ok=True)  # raises for a file of that name
    return folder


def tighten(folder: Path) -> bool:
    """Close a folder of ours to other users; return whether it was open to them.

    Only a real folder of this user is changed; a link or a folder of another user stays.
    """
    try:
        state = folder.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    if not is_ours or not stat.S_IMODE(state.st_mode) & PRIVATE_UMASK:
        return False
    with contextlib.suppress(OSError):
        folder.chmod(PRIVATE_FOLDER)
        return True
    return False


OUR_FOLDERS = ("runs", "cache", "chats", "engines", "locks", "shapes", "benchmarks", "tracebacks")
"""What swiftbox makes in its home."""


def tighten_home(home: Path, *, is_default: bool) -> list[Path]:
    """Close to other users what an earlier version left open in our home; return it.

    A home that the user has named may hold other things: only our folders in it are closed.
    """
    folders = [home] if is_default else [home / name for name in OUR_FOLDERS]
    return [folder for folder in folders if tighten(folder)]
