"""My runs: what can be done with each in its state, and what fits the result of a finished one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.display.live import View
from swiftbox.engines.consent import install_missing, refuse
from swiftbox.errors import UserError
from swiftbox.evaluation.table import lines
from swiftbox.evaluation.writing import PAGE, REPORT
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared, prepare_rerun, prepare_resume
from swiftbox.launch.record import record
from swiftbox.launch.run import follow, run, stop
from swiftbox.menu.draft import of_task
from swiftbox.menu.form import unknown
from swiftbox.menu.next_steps import Step, next_steps, result_of
from swiftbox.menu.options.models import MachineNow
from swiftbox.menu.questions import Back, complain, forget_typed, pause, say, select
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import screen_of
from swiftbox.runs import folder as run_folder

LOG_LINES = 15

Act = Callable[[], Any]


def my_runs() -> None:
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
        except (Back, KeyboardInterrupt):
            continue
        except UserError as error:
            complain(error)


def run_title(one: run_folder.Run) -> str:
    """Return one line for a run."""
    row = run_folder.run_summary(one)
    started = time.strftime("%m-%d %H:%M", time.localtime(row["started"] or 0))
    steps = f"{row['step']}/{row['total_steps']}" if row["step"] else "-"
    loss = f"{row['loss']:.3f}" if row["loss"] is not None else "-"
    doing = str(row["url"] or f"{steps:>9} {loss:>7}").removeprefix("http://")
    return f"{started} {row['status']:<8} {doing:>17}  {row['name']}"


def one_run(one: run_folder.Run) -> None:
    """Offer what can be done with a run in its state; do it."""
    url = served_at(one)
    if url:
        say(f"  {url}  {health_of(url)}")
    actions = [*(_while_active(one, url) if one.is_active else _after(one))]
    actions.insert(0, (text("show its record", "查看记录"), lambda: _record(one.folder)))
    choices: list[tuple[Act | None, str]] = [(act, title) for title, act in actions]
    chosen = select(one.name, [*choices, (None, text("back", "返回"))])
    if chosen is None:
        return
    chosen()


def served_at(one: run_folder.Run) -> str:
    """Return the address that a run serves at now; empty for any other."""
    return str(one.state.get("url") or "") if one.is_active else ""


def health_of(url: str) -> str:
    """Ask a deployment how it is, in a word."""
    from swiftbox.serving.client import health

    return health(url)


def _while_active(one: run_folder.Run, url: str) -> list[tuple[str, Act]]:
    ending = text("stop it", "停止服务") if url else text("save and stop", "保存并停止")
    with_it = Step("chat", text("chat with it", "与其对话"), {"endpoint": url})
    return [
        *([(with_it.title, partial(_go_on, with_it))] if url else []),
        (
            text("follow it (Ctrl-C leaves it running)", "跟踪（Ctrl-C 退出跟踪，运行继续）"),
            lambda: _follow(one.folder),
        ),
        (ending, lambda: _stop(one.folder)),
    ]


def _after(one: run_folder.Run) -> list[tuple[str, Act]]:
    found: list[tuple[str, Act]] = [
        (text("last lines of its log", "日志末尾"), lambda: _log(one.folder))
    ]
    if (one.folder / REPORT).is_file():
        found.append((text("its scores", "查看得分"), lambda: _scores(one.folder)))
    done = one.status == "done"
    if not done:
        going_on = text("continue from where it stopped", "从停止处继续")
        found.append((going_on, lambda: _again(prepare_resume, one.folder)))
    found.append((text("run it again", "再次运行"), lambda: _again(prepare_rerun, one.folder)))
    steps = next_steps(result_of(one.folder)) if done else []
    return [*found, *((step.title, partial(_go_on, step)) for step in steps)]


def _go_on(step: Step) -> None:
    offer(begin(step))


def offer(done: Path | None, machine: MachineNow = unknown) -> None:
    """Offer what fits the result of a finished run, and of what that leads to; None: nothing."""
    while done is not None:
        forget_typed()
        run = run_folder.find(str(done))
        if run.is_active:  # a deployment in the background
            one_run(run)
            return
        steps = next_steps(result_of(done))
        if not steps:
            pause()
            return
        done = _chosen(steps, machine)


def _chosen(steps: list[Step], machine: MachineNow) -> Path | None:
    choices: list[tuple[Any, str]] = [(one, one.title) for one in steps]
    choices.append((None, text("back", "返回")))
    while True:
        step = select(text("Done. And now?", "已完成。接下来？"), choices)
        if step is None:
            return None
        try:
            return begin(step, machine)
        except Back:
            continue


def begin(step: Step, machine: MachineNow = unknown) -> Path | None:
    """Open the review of a step; return its run's folder once it is done; Back leaves."""
    draft = of_task(step.task, dict(step.values), machine)
    return review(draft, screen_of(step.task))


def _record(folder: Path) -> None:
    say((folder / run_folder.SETTLED).read_text(encoding="utf-8"))
    say(f"{folder}  {run_folder.find(str(folder)).status}")
    pause()


def _log(folder: Path) -> None:
    log = folder / run_folder.LOG
    written = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    say("\n".join(written.splitlines()[-LOG_LINES:]))
    pause()


def _scores(folder: Path) -> None:
    for line in lines(read_json(folder / REPORT)):
        say(line)
    say(str(folder / PAGE))
    pause()


def _stop(folder: Path) -> None:
    stop(folder, timeout_s=120)
    pause()


def _follow(folder: Path) -> None:
    with View(run_folder.task_of(folder)) as view:
        follow(folder, view.event)
    pause()


def _again(prepare: Callable[[Path], Prepared], folder: Path) -> None:
    prepared = prepare(folder)
    install_missing(prepared.engines, refuse)
    ready = record(prepared)
    with View(ready.plan.config.task) as view:
        run(ready, on_event=view.event)
    pause()
