"""The entry point: runs a verb, and is the only place that prints a UserError."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from swiftbox.cli.output import DONE, INTERRUPTED, WRONG, answer_error, report_error
from swiftbox.cli.parser import parser
from swiftbox.errors import UserError
from swiftbox.files import explain_refused_paths
from swiftbox.language import accept_any_text, text
from swiftbox.security.search_path import drop_relative_entries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    accept_any_text()
    drop_relative_entries()
    # swiftbox uses no pydantic plugins; looking for them reads the metadata of every package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        return run_verb(command_line) if command_line else open_menu()
    except UserError as error:
        report_error(error)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `swiftbox ... | head` has closed the pipe
        sys.stderr.close()
        return DONE


def open_menu() -> int:
    """Open the menu; return its exit code."""
    from swiftbox.menu.entry import main as menu

    with explain_refused_paths():
        return menu()


def run_verb(command_line: Sequence[str]) -> int:
    """Import the module of the verb and run it; return the exit code."""
    from importlib import import_module

    options = parse(command_line)
    try:
        with explain_refused_paths():
            code: int = getattr(import_module(options.module), options.verb)(options)
    except UserError as error:
        if not (getattr(options, "json", False) and getattr(options, "json_errors", False)):
            raise
        answer_error(error)
        return WRONG
    return code


def parse(command_line: Sequence[str]) -> argparse.Namespace:
    """Read the arguments; `key=value` may stand anywhere after the file, also after options."""
    top = parser()
    options, extra = top.parse_known_args(command_line)
    settings = [word for word in extra if "=" in word and not word.startswith("-")]
    takes_settings = hasattr(options, "overrides")
    unknown = [word for word in extra if word not in settings or not takes_settings]
    if unknown:
        listed = " ".join(unknown)
        top.error(text(f"unrecognized arguments: {listed}", f"无法识别的参数：{listed}"))
    if settings:
        options.overrides = [*options.overrides, *settings]
    return options
