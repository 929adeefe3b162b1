"""Questions with one way back: Ctrl-C (or the end of input) raises Back, never a traceback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import questionary
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu.home import keys

STYLE = Style([("qmark", "bold"), ("question", "bold"), ("instruction", ""), ("answer", "")])

MOST_SHOWN = 14
"""Choices beyond which typing letters narrows the list: more do not fit 24 lines with the rest."""


MOST_COMPLAINTS = 10
"""Lines of one error, so that the question below it and the hint stay in sight."""

FIRST = object()
"""No default: the first choice. None is a value that a choice may have."""


class Back(Exception):
    """The user wants to go one step back."""


def select(
    message: str,
    choices: Sequence[tuple[Any, str]],
    default: Any = FIRST,
    *,
    search: bool = False,
) -> Any:
    """Let one of (value, title) be chosen; return its value. Long lists can always be searched."""
    # By place, not by value: questionary takes a title for the value of a choice that is None.
    options = [questionary.Choice(title, value=at) for at, (_, title) in enumerate(choices)]
    values = [value for value, _ in choices]
    chosen = options[values.index(default)] if default in values else None
    many = search or len(options) > MOST_SHOWN
    place = _answer(
        questionary.select(
            _short(message),
            choices=options,
            default=chosen,
            instruction=keys(),
            style=STYLE,
            use_search_filter=many,
            use_jk_keys=not many,
        )
    )
    return values[place]


def _short(message: str) -> str:
    """Cut a question, such as the name of a run, so that it stays on one line with the keys."""
    width = shutil.get_terminal_size().columns - get_cwidth(f"?   {keys()}")
    if get_cwidth(message) <= width:
        return message
    while get_cwidth(message) > width - 1:
        message = message[:-1]
    return message + "~"


def select_many(
    message: str, choices: Sequence[tuple[Any, str]], marked: Sequence[Any]
) -> list[Any]:
    """Let several of (value, title) be marked; return their values, at least one."""
    options = [
        questionary.Choice(title, value=at, checked=value in marked)
        for at, (value, title) in enumerate(choices)
    ]
    places = _answer(
        questionary.checkbox(
            message,
            choices=options,
            validate=lambda found: bool(found) or text("mark at least one", "请至少选择一项"),
            instruction=text(
                "(arrows, Space marks, Enter; Ctrl-C: back)",
                "（方向键，空格选择，回车，Ctrl-C 返回）",
            ),
            style=STYLE,
        )
    )
    return [choices[at][0] for at in places]


def type_in(message: str, default: str, check: Callable[[str], str]) -> str:
    """Let a line be typed; `check` returns what is wrong with it, or an empty string."""
    asked = questionary.text(message, default=default, validate=_validator(check), style=STYLE)
    return str(_answer(asked)).strip()


def type_path(message: str, default: str, check: Callable[[str], str]) -> str:
    """Let a path or an id be typed, with Tab completing paths."""
    asked = questionary.path(message, default=default, validate=_validator(check), style=STYLE)
    return str(_answer(asked)).strip()


def pause() -> None:
    """Wait until the user has read what is on the screen."""
    forget_typed()
    with contextlib.suppress(Back):
        select(text("Go on", "继续"), [(None, text("back", "返回"))])


def forget_typed() -> None:
    """Drop keys typed while something else had the screen: they were not meant for the menu."""
    if os.name != "posix" or not sys.stdin.isatty():
        return
    import termios

    with contextlib.suppress(termios.error):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _validator(check: Callable[[str], str]) -> Callable[[str], bool | str]:
    def validate(typed: str) -> bool | str:
        return check(typed.strip()) or True

    return validate


def _answer(asked: Any) -> Any:
    try:
        return asked.unsafe_ask()
    except (KeyboardInterrupt, EOFError):
        raise Back from None


def say(line: str) -> None:
    """Write a line to the screen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


WORD = r"[\u2e80-\uffef][，。；：、）”]*\s*|[^\s\u2e80-\uffef]+[，。；：、）”]*\s*|\s+"
"""What a line may end behind: a word, or a Chinese letter; no line begins with a comma."""


def tell(line: str) -> None:
    """Write a line of words; what is longer than the terminal goes on under it, words whole."""
    for part in folded(line, shutil.get_terminal_size().columns - 1):
        say(part)


def folded(line: str, width: int) -> list[str]:
    """Cut a line into parts of so many places, between words; further parts are indented.

    Chinese letters take two places, and a line may end after any of them.
    """
    start = line[: len(line) - len(line.lstrip())]
    hang = start + "  "
    parts, now = [], ""
    for word in re.findall(WORD, line):
        if now.strip() and get_cwidth(now + word.rstrip()) > width:
            parts.append(now.rstrip())
            now = hang
        now += word
    return [*parts, now.rstrip()]


def complain(error: UserError) -> None:
    """Show what is wrong and what to do; of a long list the beginning and the end."""
    lines = error.message.splitlines()
    if len(lines) > MOST_COMPLAINTS:
        left_out = len(lines) - MOST_COMPLAINTS
        more = text(
            f"... {left_out} more lines (swiftbox check FILE shows all)",
            f"……另有 {left_out} 行（swiftbox check FILE 显示全部）",
        )
        lines = [*lines[: MOST_COMPLAINTS - 2], more, *lines[-2:]]
    for line in ("error: " + "\n".join(lines)).splitlines():
        tell(line)
    for line in f"hint: {error.hint}".splitlines() if error.hint else []:
        tell(line)
