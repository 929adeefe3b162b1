"""Output of the command line: answers to stdout, messages and errors to stderr.

What is written here may quote strangers: it passes the filter of security/printable.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from swiftbox.errors import MachineError, UserError
from swiftbox.language import text
from swiftbox.security.printable import PrintableStream, escape_json, printable

DONE, FAILED, WRONG, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes: finished, failed, the request is wrong, steps were skipped, interrupted."""

RED, RESET = "\x1b[31m", "\x1b[0m"


def answer(line: str) -> None:
    """Write a line of the answer to stdout."""
    write_answer(printable(line, lines=True) + "\n")


def answer_json(value: Any, *, indent: int | None = None) -> None:
    """Write the answer for programs: one JSON value on stdout; foreign dates become text."""
    import json

    encoded = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    write_answer(escape_json(encoded) + "\n")


def answer_text(pieces: Iterable[str]) -> None:
    """Write a long text to stdout that arrives in pieces."""
    stream = PrintableStream()
    for piece in pieces:
        write_answer(stream.feed(piece))
    write_answer(stream.feed("", end=True))


def write_answer(content: str) -> None:
    """Write text to stdout as it is; raise MachineError if it takes no more."""
    try:
        sys.stdout.write(content)
    except BrokenPipeError:
        raise
    except OSError as error:
        from swiftbox.files import reason_of  # `--help` needs no paths

        raise unwritable(reason_of(error)) from None


def unwritable(reason: str) -> MachineError:
    """Return the error for a stdout that is closed or full."""
    return MachineError(
        text(f"cannot write to standard output: {reason}", f"无法写入标准输出：{reason}"),
        hint=text(
            "lead it to a file with room, or to /dev/null: `> FILE`",
            "请输出到有空间的文件，或 /dev/null：`> FILE`",
        ),
    )


def say(line: str) -> None:
    """Write a line to stderr; one that is closed or full is ignored."""
    _write_message(printable(line, lines=True))


def _write_message(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")


def note(line: str) -> None:
    """Write a remark to stderr."""
    say(text(f"note: {line}", f"提示：{line}"))


def report_error(error: UserError) -> None:
    """Write an error and its hint to stderr."""
    label = text("error:", "错误：")
    if uses_color(sys.stderr):
        label = f"{RED}{label}{RESET}"
    _write_message(f"{label}{text(' ', '')}{printable(error.message, lines=True)}")
    if error.hint:
        say(text(f"hint: {error.hint}", f"建议：{error.hint}"))


def uses_color(stream: TextIO) -> bool:
    """Tell whether colors may be written: a capable terminal, and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def answer_error(error: UserError) -> None:
    """Write an error as the answer for programs."""
    answer_json({"ok": False, "error": error.message, "hint": error.hint})


def report_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write the traceback of a bug; its message may quote strangers."""
    import traceback

    say("".join(traceback.format_exception(kind, error, trace)).rstrip())
