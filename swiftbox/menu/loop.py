"""The loop of the menu: the home screen, and the screen of each of its entries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swiftbox.devices.probe import Probe, start_probe
from swiftbox.errors import UserError
from swiftbox.files import explain_refused_paths
from swiftbox.language import LANGUAGES, language, save_language, text
from swiftbox.menu import home
from swiftbox.menu.questions import Back, pause, select, type_text
from swiftbox.menu.terminal import hold_typed_keys, print_error, print_line

OpenScreen = Callable[[Probe], None]


def run() -> int:
    """Show the home screen until the user quits."""
    probe = start_probe(Path.cwd())  # a child looks at the devices while the user reads
    print_line("\n".join(home.banner()))
    while True:
        try:
            entry = select(home.question(), home.entries())
        except Back:
            return 0
        if entry == home.QUIT:
            return 0
        try:
            with explain_refused_paths():
                SCREENS[entry](probe)
        except (Back, KeyboardInterrupt):  # Ctrl-C at a question or during work
            continue
        except UserError as error:
            print_error(error)


def task_screen(task: str) -> OpenScreen:
    """Return the screen of a task, which ends with the next steps for its result."""

    def open_screen(probe: Probe) -> None:
        with hold_typed_keys():  # the import takes a moment
            from swiftbox.menu import runs_screen, screens
        runs_screen.offer_next_steps(screens.open_task(task, probe), probe.now)

    return open_screen


def my_runs(_probe: Probe) -> None:
    """List the runs, with the actions for each."""
    with hold_typed_keys():
        from swiftbox.menu import runs_screen
    runs_screen.my_runs()


def demo(_probe: Probe) -> None:
    """Run the demo in a folder below the current one."""
    from swiftbox.display.demo import DEFAULT_NAME
    from swiftbox.display.demo import demo as run_demo
    from swiftbox.starter.corpus import check_name

    def check(typed: str) -> str:
        try:
            check_name(typed)
        except UserError as error:
            return text(f"{error.message} ({error.hint})", f"{error.message}（{error.hint}）")
        return ""

    question = text("What is the model's name?", "模型叫什么名字？")
    run_demo(Path("swiftbox-demo"), name=type_text(question, DEFAULT_NAME, check))
    pause()


def doctor(_probe: Probe) -> None:
    """Show the hardware and software of this machine."""
    from rich.console import Console

    from swiftbox.devices.doctor import examine
    from swiftbox.devices.doctor_table import render

    Console().print(render(examine(Path.cwd())))
    pause()


def choose_language(_probe: Probe) -> None:
    """Let the language be chosen; it is used at once and saved for the next start."""
    save_language(select("Language / 语言", list(LANGUAGES.items()), default=language()))


SCREENS: dict[str, OpenScreen] = {
    **{task: task_screen(task) for task in home.TASKS},
    home.RUNS: my_runs,
    home.DEMO: demo,
    home.DOCTOR: doctor,
    home.LANGUAGE: choose_language,
}
