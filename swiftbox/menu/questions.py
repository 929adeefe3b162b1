"""Questions with one way back: Ctrl-C (or the end of input) raises Back, never a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import questionary
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.styles import Style
from questionary.prompts.common import InquirerControl

from swiftbox.formatting import cut
from swiftbox.language import text
from swiftbox.menu.home import list_keys
from swiftbox.menu.terminal import columns, discard_typed_keys, print_line
from swiftbox.security.printable import printable

STYLE = Style([("qmark", "bold"), ("question", "bold"), ("instruction", ""), ("answer", "")])

MAX_UNSEARCHED = 14
"""Longer lists are narrowed by typing: more entries do not fit 24 lines with the rest."""

MARK_CELLS = 3
"""Cells in front of a question or an entry."""

FIRST: Any = object()
"""Stands for no default; None cannot, as it is the value of some entries."""


class Back(Exception):
    """The user goes one step back."""


def select(
    question: str,
    choices: Sequence[tuple[Any, str]],
    default: Any = FIRST,
    *,
    search: bool = False,
) -> Any:
    """Let one of (value, title) be chosen; return its value. Long lists are always searchable."""
    searchable = search or len(choices) > MAX_UNSEARCHED
    # By place, not by value: questionary takes the title for the value of a choice that is None.
    options = [
        questionary.Choice(printable(title) if searchable else _fitted(title), value=at)
        for at, (_, title) in enumerate(choices)
    ]
    values = [value for value, _ in choices]
    prompt = questionary.select(
        _fitted(question),
        choices=options,
        default=options[values.index(default)] if default in values else None,
        instruction=list_keys(question),
        style=STYLE,
        use_search_filter=searchable,
        use_jk_keys=not searchable,
    )
    if searchable:
        _search_by_any_letter(prompt)
    return values[_answer(prompt)]


def _fitted(title: str) -> str:
    """Shorten a title that is longer than a line behind its mark or pointer."""
    return cut(printable(title), columns() - MARK_CELLS)


def _search_by_any_letter(prompt: questionary.Question) -> None:
    """Make lists searchable in Chinese too: questionary accepts ASCII only."""
    application = prompt.application
    controls = application.layout.find_all_controls()
    control = next(control for control in controls if isinstance(control, InquirerControl))
    letters = KeyBindings()

    @letters.add(Keys.Any)
    def _(event: KeyPressEvent) -> None:
        letter = event.key_sequence[0].key
        if not isinstance(letter, Keys) and letter.isprintable():  # arrows and the like are Keys
            control.add_search_character(letter)  # type: ignore[arg-type]  # it takes any text

    existing = application.key_bindings
    application.key_bindings = merge_key_bindings([*([existing] if existing else []), letters])


def select_many(
    question: str, choices: Sequence[tuple[Any, str]], checked: Sequence[Any]
) -> list[Any]:
    """Let several of (value, title) be checked; return their values, at least one."""
    options = [
        questionary.Choice(printable(title), value=at, checked=value in checked)
        for at, (value, title) in enumerate(choices)
    ]
    places = _answer(
        questionary.checkbox(
            printable(question),
            choices=options,
            validate=lambda places: bool(places) or text("check at least one", "请至少选择一项"),
            instruction=text(
                "(arrows, Space checks, Enter; Ctrl-C: back)",
                "（方向键，空格选择，回车，Ctrl-C 返回）",
            ),
            style=STYLE,
            erase_when_done=True,  # its own answer is English: "done (2 selections)"
        )
    )
    titles = text("; ", "；").join(choices[at][1] for at in places)
    print_line(cut(printable(f"? {question} {titles}"), columns()))
    return [choices[at][0] for at in places]


def type_text(question: str, default: str, check: Callable[[str], str]) -> str:
    """Let a line be typed; `check` returns what is wrong with it, or an empty string."""
    prompt = questionary.text(
        printable(question), default=default, validate=_validator(check), style=STYLE
    )
    return str(_answer(prompt)).strip()


def type_path(question: str, default: str, check: Callable[[str], str]) -> str:
    """Let a path or an id be typed; Tab completes paths."""
    prompt = questionary.path(
        printable(question), default=default, validate=_validator(check), style=STYLE
    )
    return str(_answer(prompt)).strip()


def pause() -> None:
    """Wait until the user has read the screen."""
    discard_typed_keys()
    with contextlib.suppress(Back):
        select(text("Continue", "继续"), [(None, text("back", "返回"))])


def _validator(check: Callable[[str], str]) -> Callable[[str], bool | str]:
    def validate(typed: str) -> bool | str:
        return printable(check(typed.strip())) or True

    return validate


def _answer(prompt: questionary.Question) -> Any:
    try:
        return prompt.unsafe_ask()
    except (KeyboardInterrupt, EOFError):
        raise Back from None
