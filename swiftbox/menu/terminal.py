"""The terminal under the menu: lines written to it, and keys typed before anything reads them.

Imports nothing heavy: the first screen is painted with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

from swiftbox.errors import UserError
from swiftbox.formatting import cut, width, wrap
from swiftbox.language import text
from swiftbox.security.printable import printable

MAX_ERROR_LINES = 10
"""Lines of one error, so that its hint and the question below it stay in sight."""


def columns() -> int:
    """Return the cells of a line; the last one stays free, as some terminals wrap behind it."""
    return shutil.get_terminal_size().columns - 1


def fitting(*lines: str) -> str:
    """Return the first line that fits the terminal, else the last one, cut."""
    return next((line for line in lines if width(line) <= columns()), cut(lines[-1], columns()))


def screen_lines(line: str) -> int:
    """Return the lines of the screen that a line takes, as the terminal breaks it."""
    cells = shutil.get_terminal_size().columns
    count = 1
    while width(line) > cells:
        line = line[len(cut(line, cells, mark="") or line[0]) :]
        count += 1
    return count


def print_line(line: str = "") -> None:
    """Write a line, without what strangers could make a terminal do."""
    sys.stdout.write(printable(line, lines=True) + "\n")
    sys.stdout.flush()


def print_wrapped(line: str) -> None:
    """Write a line of prose; continuation lines are indented under it."""
    line = printable(line)
    indent = line[: len(line) - len(line.lstrip())] + "  "
    for part in wrap(line, columns(), indent=indent):
        print_line(part)


def print_error(error: UserError) -> None:
    """Write what is wrong and what to do; a long list keeps its beginning and its end."""
    lines = printable(error.message, lines=True).splitlines()
    if len(lines) > MAX_ERROR_LINES:
        omitted = len(lines) - MAX_ERROR_LINES
        note = text(
            f"... {omitted} more lines (swiftbox check FILE shows all)",
            f"……另有 {omitted} 行（swiftbox check FILE 显示全部）",
        )
        lines = [*lines[: MAX_ERROR_LINES - 2], note, *lines[-2:]]
    for line in (text("error: ", "错误：") + "\n".join(lines)).splitlines():
        print_wrapped(line)
    if error.hint:
        for line in (text("hint: ", "建议：") + printable(error.hint, lines=True)).splitlines():
            print_wrapped(line)


@contextlib.contextmanager
def hold_typed_keys() -> Iterator[None]:
    """Do not echo keys while nothing reads them; they reach the next question."""
    if os.name != "posix" or not sys.stdin.isatty():
        yield
        return
    import termios

    try:
        settings = termios.tcgetattr(sys.stdin)
    except termios.error:
        yield
        return
    silent = list(settings)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)


def discard_typed_keys() -> None:
    """Drop keys typed while a run had the screen: they were not meant for the menu."""
    if os.name != "posix" or not sys.stdin.isatty():
        return
    import termios

    with contextlib.suppress(termios.error):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
