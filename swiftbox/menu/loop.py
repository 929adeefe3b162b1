"""The menu's loop: home, and the small screens that hang on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from swiftbox.devices.probe import start_probe
from swiftbox.errors import UserError
from swiftbox.language import LANGUAGES, language, save_language, text
from swiftbox.menu import home
from swiftbox.menu.questions import Back, complain, pause, say, select


def run() -> int:
    """Show the home screen until the user quits."""
    probe = start_probe(Path.cwd())  # a child looks at the devices while the user reads
    say("\n".join(home.banner()))
    while True:
        try:
            chosen = select(home.question(), home.entries())
        except Back:
            return 0
        if chosen == home.QUIT:
            return 0
        try:
            SCREENS[chosen](probe)
        except (Back, KeyboardInterrupt):  # Ctrl-C at a question, or while something works
            continue
        except UserError as error:
            complain(error)


def task(name: str) -> Callable[[Any], None]:
    """Return the screen that goes through a task, and on to what fits its result."""

    def go(probe: Any) -> None:
        with home.keys_kept():  # loading takes a moment
            from swiftbox.menu import runs_screen as running
            from swiftbox.menu import screens
        running.offer(screens.begin(name, probe), probe.now)

    return go


def my_runs(_probe: Any) -> None:
    """List the runs; do things with the chosen one."""
    with home.keys_kept():
        from swiftbox.menu.runs_screen import my_runs
    my_runs()


def demo(_probe: Any) -> None:
    """Run the demo in a folder here."""
    from swiftbox.display.demo import DEFAULT_NAME
    from swiftbox.display.demo import demo as start
    from swiftbox.menu.questions import type_in
    from swiftbox.starter.corpus import check_name

    def check(typed: str) -> str:
        try:
            check_name(typed)
        except UserError as error:
            return f"{error.message} ({error.hint})"
        return ""

    asked = text("What shall the model call itself?", "模型叫什么名字？")
    start(Path("swiftbox-demo"), name=type_in(asked, DEFAULT_NAME, check))
    pause()


def doctor(_probe: Any) -> None:
    """Show what this machine has and lacks."""
    from rich.console import Console

    from swiftbox.devices.doctor import examine, render

    Console().print(render(examine(Path.cwd())))
    pause()


def choose_language(_probe: Any) -> None:
    """Let the language be chosen; it holds from the next line on, and at the next start."""
    save_language(select("Language / 语言", list(LANGUAGES.items()), default=language()))


SCREENS: dict[str, Callable[[Any], None]] = {
    **{name: task(name) for name in home.TASKS},
    home.RUNS: my_runs,
    home.DEMO: demo,
    home.DOCTOR: doctor,
    home.LANGUAGE: choose_language,
}
