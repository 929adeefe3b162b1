"""The command line: the verbs, and the only place that prints a UserError."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from swiftbox.cli.parser import parser
from swiftbox.errors import UserError
from swiftbox.language import text

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # No plugin of pydantic's is used; looking for some reads the metadata of every package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        if not given:
            from swiftbox.menu.home import main as menu

            return menu()
        options = parse(given)
        from importlib import import_module

        code: int = getattr(import_module(options.module), options.verb)(options)
        return code
    except UserError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `swiftbox ... | head` has left
        sys.stderr.close()
        return DONE


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Read the arguments; `key=value` may stand anywhere behind the file, also after options."""
    top = parser()
    options, rest = top.parse_known_args(given)
    settings = [one for one in rest if "=" in one and not one.startswith("-")]
    if len(settings) != len(rest) or (settings and not hasattr(options, "overrides")):
        strange = [one for one in rest if one not in settings] or settings
        top.error(
            text(
                f"unrecognized arguments: {' '.join(strange)}",
                f"无法识别的参数：{' '.join(strange)}",
            )
        )
    if settings:
        options.overrides = [*options.overrides, *settings]
    return options
