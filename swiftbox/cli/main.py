"""The entry point: runs a verb, and is the only place that prints a UserError."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence

from swiftbox.cli.output import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG,
    answer_error,
    note,
    report_error,
    unwritable,
)
from swiftbox.cli.parser import parser
from swiftbox.cli.streams import flush_failure, open_closed_streams
from swiftbox.cli.surroundings import require_folders, require_text
from swiftbox.errors import ChildError, ResultError, UnexpectedError, UserError
from swiftbox.language import accept_any_text, home, text
from swiftbox.security.private import restrict_umask, tighten_home
from swiftbox.security.search_path import drop_relative_entries

GARBAGE_THRESHOLD = 150_000
"""Objects between two collections of garbage: imports make 100,000 that stay, which are searched
dozens of times at Python's 700. One search takes 0.015 s."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
        gc.set_threshold(GARBAGE_THRESHOLD)
    command_line = list(arguments)
    stdout_is_open = open_closed_streams()
    accept_any_text()
    drop_relative_entries()
    restrict_umask()
    # swiftbox uses no pydantic plugins; looking for them reads the metadata of every package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if not stdout_is_open:
        report_error(unwritable(text("it is closed", "已关闭")))
        return WRONG
    try:
        code = _reported(command_line)
    except SystemExit as ended:  # the help and the version end the program
        code = _written(ended.code if isinstance(ended.code, int) else DONE)
        raise SystemExit(code) from None
    return _written(code)


def _reported(command_line: Sequence[str]) -> int:
    """Run the verb or the menu, and report its error; return the exit code."""
    try:
        require_text(command_line)
        return run_verb(command_line) if command_line else open_menu()
    except UserError as error:
        report_error(error)
        return _code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `swiftbox ... | head` has closed the pipe
        flush_failure(sys.stdout)
        return DONE


def _written(code: int) -> int:
    """Write what stdout and stderr still hold; return the exit code, WRONG if stdout is full."""
    failure = flush_failure(sys.stdout)
    if failure is not None and not isinstance(failure, BrokenPipeError):
        from swiftbox.files import reason_of

        report_error(unwritable(reason_of(failure)))
        code = code or WRONG
    flush_failure(sys.stderr)
    return code


def open_menu() -> int:
    """Open the menu; return its exit code."""
    from swiftbox.menu.entry import main as menu

    close_home()
    with _explained():
        return menu()


def run_verb(command_line: Sequence[str]) -> int:
    """Import the module of the verb and run it; return the exit code."""
    from importlib import import_module

    options = parse(command_line)
    close_home()
    try:
        with _explained():
            code: int = getattr(import_module(options.module), options.verb)(options)
    except UserError as error:
        if not (getattr(options, "json", False) and getattr(options, "json_errors", False)):
            raise
        answer_error(error)
        return _code_of(error)
    return code


def _code_of(error: UserError) -> int:
    return FAILED if isinstance(error, (ChildError, ResultError, UnexpectedError)) else WRONG


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Raise UserError for what is wrong around swiftbox, and for what nobody expected."""
    from swiftbox.files import explain_refused_paths, reason_of  # `--help` needs no paths

    require_folders()
    try:
        with explain_refused_paths():
            yield
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:  # the last net: the traceback goes to a file
        failure = flush_failure(sys.stdout)
        if failure is not None:
            raise unwritable(reason_of(failure)) from None
        if sys.flags.dev_mode:
            raise
        from swiftbox.cli.unexpected import described

        raise described(error) from None


def close_home() -> None:
    """Close to other users what an earlier version left open in our home, and say so."""
    for folder in tighten_home(home(), is_default="SWIFTBOX_HOME" not in os.environ):
        note(
            text(
                f"{folder} was open to other users of this machine; it is closed now (mode 700)",
                f"{folder} 此前对本机其他用户开放，现已改为仅自己可访问（权限 700）",
            )
        )


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
