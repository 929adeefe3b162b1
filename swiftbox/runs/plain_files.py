"""Open the files of a run folder: regular files only, never through a link, never blocking.

A run folder may come from a stranger. A link in it would let a write reach any file of the user, a
FIFO would let a read wait for ever, and a file of gigabytes would fill the memory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from swiftbox.errors import RunError
from swiftbox.files import folder_aside
from swiftbox.language import text
from swiftbox.runs.event_lines import newest_lines

MAX_RECORD_BYTES = 4 * 2**20
"""A state, a plan or the steps of a pipeline are a few kilobytes; a longer file is not read."""

LISTED = 5
"""Entries of a folder that an error names."""


def open_plain(path: Path, mode: str = "rb") -> IO[bytes]:
    """Open a file of a run folder in `rb`, `ab` or `r+b`; `ab` creates it, for the user alone.

    A file with other names (hard links) is copied before it is written: it may be one outside the
    folder. Raises RunError for a link or a special file, OSError for what else the system refuses.
    """
    file = _open(path, mode)
    if mode == "rb" or os.fstat(file.fileno()).st_nlink < 2:
        return file
    file.close()
    with open_plain(path) as shared, folder_aside(path) as aside:
        with open(copy := aside / path.name, "wb") as content:
            shutil.copyfileobj(shared, content)
        copy.replace(path)
    return _open(path, mode)


def _open(path: Path, mode: str) -> IO[bytes]:
    flags = {"rb": os.O_RDONLY, "ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT, "r+b": os.O_RDWR}
    try:
        descriptor = os.open(
            path, flags[mode] | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise not_plain([path]) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_plain([path])
    return os.fdopen(descriptor, mode)


def not_plain(paths: list[Path]) -> RunError:
    """Return the error for links and special files in a run folder."""
    listed = ", ".join(str(path) for path in paths[:LISTED])
    return RunError(
        text(
            f"links and special files in a run folder are not followed: {listed}",
            f"不使用运行目录中的链接和特殊文件：{listed}",
        ),
        hint=text(
            "replace them with real files, or rerun from its YAML in a new folder",
            "请换成真实文件，或用其 YAML 在新目录中运行",
        ),
    )


def read_plain(path: Path) -> str:
    """Return the text of a small file; raise RunError if it is not a small plain file."""
    with open_plain(path) as file:
        content = file.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise RunError(
            text(f"{path} is too large to be a record", f"{path} 过大，不是运行记录"),
            hint=text("give the folder of a run", "请给出运行目录"),
        )
    return content.decode("utf-8", errors="replace")


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON mapping of a run folder; empty if absent, torn, too large or not plain."""
    try:
        content = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError, RunError):
        return {}
    return content if isinstance(content, dict) else {}


def touch_plain(path: Path) -> None:
    """Create an empty file; raise RunError if a link or a special file has its name."""
    open_plain(path, "ab").close()


def pieces(path: Path, size_bytes: int = 2**16) -> Iterator[str]:
    """Yield the text of a file of any size in pieces; nothing if it is absent or not plain."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with contextlib.suppress(OSError, RunError), open_plain(path) as file:
        while block := file.read(size_bytes):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file of any size; none if it is absent or not plain."""
    lines: list[str] = []
    with contextlib.suppress(OSError, RunError), open_plain(path) as file:
        for line in newest_lines(file):
            lines.append(line.decode("utf-8", errors="replace"))
            if len(lines) > count:
                break
    if lines and not lines[0]:  # what follows the last line break
        del lines[0]
    return lines[:count][::-1]


def require_plain_tree(folder: Path) -> None:
    """Raise RunError for links and special files in a run folder."""
    refused: list[Path] = []
    waiting = [folder]
    while waiting and len(refused) < LISTED:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    refused.append(Path(entry.path))
    if refused:
        raise not_plain(sorted(refused))
