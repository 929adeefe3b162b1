"""Asking in the terminal before code of a YAML runs or a token is sent."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from swiftbox.cli.output import say
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.security.printable import printable

if TYPE_CHECKING:
    from swiftbox.launch.disclosure import Ask, Disclosure


def ask_of(options: argparse.Namespace) -> Ask:
    """Return the function that asks for an agreement; with --yes it agrees."""
    return _agree if options.yes else ask


def show(disclosure: Disclosure) -> None:
    """Write what a start executes, sends and writes to stderr, wrapped for a terminal.

    A long name is continued deeper than any line of the block: it cannot pose as one.
    """
    from swiftbox.formatting import wrap

    columns = _columns()
    for line in map(printable, disclosure.lines()):  # one line each: no line break is left
        indent = line[: len(line) - len(line.lstrip())] + "    "
        for part in wrap(line, columns, indent=indent) if columns else [line]:
            say(part)


def ask(_disclosure: Disclosure) -> bool:
    """Ask in the terminal; raise ConfigError unless the answer is yes.

    Without a terminal, agree to nothing: the caller's error then lists what is open.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(text("Start it? [y/N] ", "开始吗？[y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes", "是", "好"):
        return True
    raise ConfigError(
        text("not started: you did not agree", "未启动：你没有同意"),
        hint=text("answer y if you trust what is listed", "如果信任所列内容，请回答 y"),
    )


def _columns() -> int:
    """Return the columns of the terminal at stderr; 0 if there is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 0


def _agree(_disclosure: Disclosure) -> bool:
    return True
