"""Standard streams that are closed or cannot be written: no traceback, a true exit code.

Python has no stream for a closed descriptor, and the next file that is opened gets its number:
what is printed would go into that file. Closed ones are therefore opened on the null device.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

STREAMS = ("stdin", "stdout", "stderr")


def open_closed_streams() -> bool:
    """Open the standard streams that are closed; return whether stdout was open."""
    closed = [name for name in STREAMS if getattr(sys, name) is None]
    if not closed:
        return True
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    for name in closed:
        mode = "r" if name == "stdin" else "w"
        stream = open(STREAMS.index(name), mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
        setattr(sys, name, stream)
    return "stdout" not in closed


def flush_failure(stream: TextIO) -> OSError | None:
    """Write what a stream still holds; return the error if that fails, and silence the stream."""
    try:
        stream.flush()
    except OSError as error:
        _silence(stream)
        return error
    except ValueError:  # closed
        return None
    return None


def _silence(stream: TextIO) -> None:
    """Lead a stream to the null device, or Python fails when it writes the rest at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
