"""The last net under the command line: an error that nobody expected, as a message with a place.

Its traceback goes to a file, which the hint names. `python -X dev` shows it on the screen.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback

from swiftbox.errors import MachineError, UnexpectedError, UserError
from swiftbox.language import home, text


def described(error: Exception) -> UserError:
    """Describe an error that no part of swiftbox expected; save its traceback."""
    if isinstance(error, MemoryError):
        return MachineError(
            text("the main memory is full", "内存不足"),
            hint=text(
                "end other programs, or take fewer or smaller files",
                "请结束其他程序，或减少、缩小文件",
            ),
        )
    kind, reason = type(error).__name__, " ".join(str(error).split())[:500]
    place = _place(error)
    report = _save("".join(traceback.format_exception(error)))
    return UnexpectedError(
        text(
            f"unexpected {kind} in {place}: {reason}",
            f"{place} 中出现意外的 {kind}：{reason}",
        ),
        hint=text(
            f"check the input that the message names; if it is right, this is a bug: {report}",
            f"请检查信息中提到的输入；若输入无误，则是程序缺陷：{report}",
        ),
    )


def _place(error: Exception) -> str:
    """Return the last function of swiftbox that the error passed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename.startswith(package)]
    frame = (inside or frames)[-1]
    return f"{os.path.relpath(frame.filename, os.path.dirname(package))}:{frame.lineno}"


def _save(content: str) -> str:
    """Write a traceback into the state folder, else a temporary one; return where it is."""
    import tempfile

    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (home() / "tracebacks", tempfile.gettempdir()):
        path = os.path.join(folder, name if folder != tempfile.gettempdir() else f"swiftbox-{name}")
        with contextlib.suppress(OSError):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(content)
            return text(f"the traceback is in {path}", f"完整的回溯在 {path}")
    return content
