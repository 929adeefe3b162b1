"""The menu's loop: home, and the small screens that hang on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from swiftbox import run_folder
from swiftbox.devices.probe import start_probe
from swiftbox.errors import UserError
from swiftbox.language import LANGUAGES, language, save_language, text
from swiftbox.menu import home
from swiftbox.menu.ask import Back, complain, pause, say, select


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
        except Back:
            continue
        except UserError as error:
            complain(error)


def train(probe: Any) -> None:
    """Go through a training: form, review, run."""
    from swiftbox.menu.training import begin

    begin(probe)


def download(probe: Any) -> None:
    """Fill a queue of models and datasets and fetch it; look after what is here."""
    from swiftbox.menu.downloading import begin

    begin(probe)


def my_runs(_probe: Any) -> None:
    """List the runs; do things with the chosen one."""
    while True:
        known = list(run_folder.runs())
        if not known:
            say(text("no runs yet", "还没有运行"))
            return
        choices: list[tuple[Any, str]] = [(one, run_title(one)) for one in known]
        chosen = select(
            text("Which run?", "哪一个运行？"), [*choices, (None, text("back", "返回"))]
        )
        if chosen is None:
            return
        try:
            one_run(chosen)
        except Back:
            continue
        except UserError as error:
            complain(error)


def run_title(one: run_folder.Run) -> str:
    """Return one line for a run."""
    row = run_folder.described(one)
    started = time.strftime("%m-%d %H:%M", time.localtime(row["started"] or 0))
    steps = f"{row['step']}/{row['total_steps']}" if row["step"] else "-"
    loss = f"{row['loss']:.3f}" if row["loss"] is not None else "-"
    return f"{started} {row['status']:<8} {steps:>9} {loss:>7}  {row['name']}"


def one_run(one: run_folder.Run) -> None:
    """Offer what can be done with a run in its state."""
    from swiftbox import launch
    from swiftbox.menu import merging
    from swiftbox.view import View

    active, done = one.is_active, one.status == "done"
    actions = [("show", text("show its record", "查看记录"))]
    if active:
        actions += [
            (
                "follow",
                text("follow it (Ctrl-C leaves it running)", "跟踪（Ctrl-C 退出跟踪，运行继续）"),
            ),
            ("stop", text("save and stop", "保存并停止")),
        ]
    else:
        actions.append(("log", text("last lines of its log", "日志末尾")))
        if not done:
            actions.append(
                ("resume", text("continue from the last checkpoint", "从最后的检查点继续"))
            )
        actions.append(("rerun", text("run it again", "再次运行")))
        if done and merging.has_adapter(one.folder):
            into_base = text("merge its adapter into the base", "将其适配器合并进基座")
            actions.append(("merge", into_base))
    chosen = select(one.name, [*actions, (None, text("back", "返回"))])
    if chosen == "merge":
        merging.begin(one.folder)
        return
    if chosen == "show":
        say((one.folder / run_folder.SETTLED).read_text(encoding="utf-8"))
        say(f"{one.folder}  {one.status}")
    elif chosen == "log":
        log = (one.folder / run_folder.LOG).read_text(encoding="utf-8", errors="replace")
        say("\n".join(log.splitlines()[-15:]))
    elif chosen == "stop":
        launch.stop(one.folder, timeout_s=120)
    elif chosen == "follow":
        with View() as view:
            launch.follow(one.folder, view.event)
    elif chosen in ("resume", "rerun"):
        act = launch.resume if chosen == "resume" else launch.rerun
        with View() as view:
            act(one.folder, on_event=view.event)
    if chosen is not None:
        pause()


def demo(_probe: Any) -> None:
    """Run the demo in a folder here."""
    from swiftbox.data.corpus import check_name
    from swiftbox.menu.ask import type_in
    from swiftbox.starter.demo import DEFAULT_NAME
    from swiftbox.starter.demo import demo as start

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


SCREENS = {
    home.TRAIN: train,
    home.DOWNLOAD: download,
    home.RUNS: my_runs,
    home.DEMO: demo,
    home.DOCTOR: doctor,
    home.LANGUAGE: choose_language,
}
