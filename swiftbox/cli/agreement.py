"""Asking in the terminal before code of a YAML runs or a token is sent."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from swiftbox.cli.output import say
from swiftbox.language import text
from swiftbox.security.printable import printable

if TYPE_CHECKING:
    from swiftbox.launch.disclosure import Ask, Disclosure


def ask_of(options: argparse.Namespace) -> Ask:
    """Return the function that asks for an agreement; with --yes it agrees."""
    return _agree if options.yes else ask


def show(disclosure: Disclosure) -> None:
    """Write what a start executes, sends and writes to stderr."""
    for line in disclosure.lines():
        say(printable(line))  # one line each: a name cannot add or hide a line


def ask(_disclosure: Disclosure) -> bool:
    """Ask in the terminal, by default not to start; without a terminal, agree to nothing."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(text("Start it? [y/N] ", "开始吗？[y/N] "))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes", "是", "好")


def _agree(_disclosure: Disclosure) -> bool:
    return True
