"""Read regular files only: a FIFO waits for a writer, a device has no end.

Errors are OSErrors whose message is written for people, so that callers handle them as any other
refusal of the system (`files.reason_of`).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from swiftbox.formatting import size
from swiftbox.language import text

BLOCK_BYTES = 2**20


def require_regular(path: Path) -> None:
    """Raise OSError if a path is a FIFO, socket or device, or if nothing is there.

    A folder passes: those who take one ask for it.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _not_regular(path)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; raise OSError for any other.

    The content counts, not the size: files of /proc have content and the size 0.
    """
    with open_regular(path) as file:
        return _read(file.fileno(), path, limit)


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to read; raise OSError for any other, without waiting for a writer."""
    require_regular(path)
    # Another file may have taken the place of the checked one: opening must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise _not_regular(path)


def _read(descriptor: int, path: Path, limit: int) -> bytes:
    content = bytearray()
    while block := os.read(descriptor, min(BLOCK_BYTES, limit + 1 - len(content))):
        content += block
        if len(content) > limit:
            raise _too_large(path, limit)
    return bytes(content)


def _not_regular(path: Path) -> OSError:
    reason = text(
        "it is not a regular file but a pipe, socket or device; save the content to a file",
        "不是普通文件，而是管道、套接字或设备；请先把内容存为文件",
    )
    return OSError(errno.EINVAL, reason, str(path))


def _too_large(path: Path, limit: int) -> OSError:
    reason = text(f"it is larger than {size(limit)}", f"超过 {size(limit)}")
    return OSError(errno.EFBIG, reason, str(path))
