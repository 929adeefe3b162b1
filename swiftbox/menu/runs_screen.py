"""My runs: the actions for a run in its state, and the next steps for a finished one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from swiftbox.display.live import View
from swiftbox.display.pipeline import step_progress
from swiftbox.display.status import health_title, status_title
from swiftbox.errors import UserError
from swiftbox.evaluation.report_files import PAGE, REPORT
from swiftbox.evaluation.table import lines
from swiftbox.files import read_json
from swiftbox.formatting import pad
from swiftbox.language import text
from swiftbox.launch.output_folder import settled_in
from swiftbox.launch.prepare import Prepared, prepare_rerun, prepare_resume
from swiftbox.launch.run import follow, stop
from swiftbox.menu.draft import new_draft
from swiftbox.menu.failure_screen import continue_after_failures, start_again
from swiftbox.menu.next_steps import NextStep, next_steps, result_of
from swiftbox.menu.options.endpoints import server_of
from swiftbox.menu.options.option import MachineSource, unknown_machine
from swiftbox.menu.questions import Back, pause, select, type_text
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import screen_of
from swiftbox.menu.terminal import (
    columns,
    discard_typed_keys,
    print_error,
    print_line,
)
from swiftbox.runs import folder as run_folder
from swiftbox.runs.endings import PARTIAL_STATUS
from swiftbox.runs.folder import Run
from swiftbox.runs.plain_files import last_lines, read_plain
from swiftbox.runs.summary import run_summary

LOG_LINES = 15

STOP_TIMEOUT_S = 120
"""How long a run may take to save its checkpoint before the menu returns."""

STATUS_CELLS = 9

FULL_LINE_CELLS = 60
"""A narrower terminal shows the status and the name of a run only."""

Action = Callable[[], object]


def my_runs() -> None:
    """List the runs and do what is chosen with one, until the user leaves."""
    while True:
        runs = list(run_folder.runs())
        if not runs:
            print_line(text("no runs yet", "还没有运行"))
            return
        choices: list[tuple[Run | None, str]] = [(run, run_title(run)) for run in runs]
        choices.append((None, text("back", "返回")))
        chosen = select(text("Which run?", "哪一个运行？"), choices)
        if chosen is None:
            return
        try:
            open_run(chosen)
        except (Back, KeyboardInterrupt):
            continue
        except UserError as error:
            print_error(error)


def run_title(run: Run) -> str:
    """Return one line for a run: start, status, progress or address, name."""
    summary = run_summary(run)
    status = pad(status_title(summary["status"]), STATUS_CELLS)
    if columns() < FULL_LINE_CELLS:
        return f"{status}{summary['name']}"
    started = time.strftime("%m-%d %H:%M", time.localtime(summary["started"] or 0))
    steps = f"{summary['step']}/{summary['total_steps']}" if summary["step"] else "-"
    if summary["parts"]:
        steps = step_progress(summary["parts"])
    loss = f"{summary['loss']:.3f}" if summary["loss"] is not None else "-"
    progress = str(summary["url"] or f"{steps:>9} {loss:>7}").removeprefix("http://")
    return f"{started} {status}{progress:>17}  {summary['name']}"


def open_run(run: Run) -> None:
    """Offer the actions for a run in its state, and do the chosen one."""
    url = server_of(run)
    if url:
        print_line(f"  {url}  {health_title(server_health(url))}")
    actions: list[tuple[Action | None, str]] = [
        (partial(_show_record, run.folder), text("show its record", "查看记录")),
        *(_actions_while_active(run, url) if run.is_active else _actions_after(run)),
        (None, text("back", "返回")),
    ]
    action = select(run.name, actions)
    if action is not None:
        action()


def server_health(url: str) -> str:
    """Report the health of a deployment."""
    from swiftbox.serving.client import health

    return health(url)


def _actions_while_active(run: Run, url: str) -> list[tuple[Action, str]]:
    following = text("follow it (Ctrl-C leaves it running)", "跟踪（Ctrl-C 退出跟踪，运行继续）")
    stopping = text("stop it", "停止服务") if url else text("save and stop", "保存并停止")
    actions: list[tuple[Action, str]] = [
        (partial(_follow, run.folder), following),
        (partial(_stop, run.folder), stopping),
    ]
    if not url:
        return actions
    chat = NextStep("chat", text("chat with it", "与其对话"), {"endpoint": url})
    return [(partial(_take, chat), chat.title), *actions]


def _actions_after(run: Run) -> list[tuple[Action, str]]:
    actions: list[tuple[Action, str]] = [
        (partial(_show_log, run.folder), text("last lines of its log", "日志末尾"))
    ]
    if (run.folder / REPORT).is_file():
        actions.append((partial(_show_scores, run.folder), text("its scores", "查看得分")))
    is_done = run.status in ("done", PARTIAL_STATUS)
    if not is_done:
        title = text("resume from its last checkpoint", "从最近的检查点继续")
        actions.append((partial(_run_again, prepare_resume, run.folder), title))
    title = text("run it again", "再次运行")
    actions.append((partial(_run_again, prepare_rerun, run.folder), title))
    if run_folder.task_of(run.folder) == "train" and run_folder.checkpoints(run.folder):
        actions.append((partial(_extend, run.folder), text("train it for longer", "延长训练")))
    steps = next_steps(result_of(run.folder)) if is_done else []
    return [*actions, *((partial(_take, step), step.title) for step in steps)]


def _take(step: NextStep) -> None:
    offer_next_steps(open_step(step))


def offer_next_steps(folder: Path | None, machine: MachineSource = unknown_machine) -> None:
    """Offer the next steps for a finished run, and for the run that each leads to.

    None stands for a run that did not finish: nothing is offered.
    """
    while folder is not None:
        discard_typed_keys()
        run = run_folder.find(str(folder))
        if run.is_active:  # a deployment in the background
            open_run(run)
            return
        steps = next_steps(result_of(folder))
        if not steps:
            pause()
            return
        folder = _choose_step(steps, machine)


def _choose_step(steps: list[NextStep], machine: MachineSource) -> Path | None:
    choices: list[tuple[NextStep | None, str]] = [(step, step.title) for step in steps]
    choices.append((None, text("back", "返回")))
    while True:
        step = select(text("Done. What now?", "已完成。接下来？"), choices)
        if step is None:
            return None
        try:
            return open_step(step, machine)
        except Back:
            continue


def open_step(step: NextStep, machine: MachineSource = unknown_machine) -> Path | None:
    """Review a next step; return its run's folder once it is done. Back leaves."""
    return review(new_draft(step.task, dict(step.values), machine), screen_of(step.task))


def _show_record(folder: Path) -> None:
    print_line(read_plain(folder / run_folder.SETTLED))
    print_line(f"{folder}  {status_title(run_folder.find(str(folder)).status)}")
    pause()


def _show_log(folder: Path) -> None:
    print_line("\n".join(last_lines(folder / run_folder.LOG, LOG_LINES)))
    pause()


def _show_scores(folder: Path) -> None:
    for line in lines(read_json(folder / REPORT)):
        print_line(line)
    print_line(str(folder / PAGE))
    pause()


def _stop(folder: Path) -> None:
    print_line(text("stopping ...", "正在停止……"))
    stop(folder, timeout_s=STOP_TIMEOUT_S)
    pause()


def _follow(folder: Path) -> None:
    with View(run_folder.task_of(folder)) as view:
        follow(folder, view.event)
    pause()


def _extend(folder: Path) -> None:
    """Ask for the total of epochs, and train the run for longer in a new folder."""
    from swiftbox.launch.extend import prepare_extend

    def check(typed: str) -> str:
        is_number = typed.replace(".", "", 1).isdigit() and float(typed) > 0
        return "" if is_number else text("type a number of epochs", "请输入轮数")

    epochs = getattr(settled_in(folder).config, "num_train_epochs", 1.0)
    question = text("How many epochs in total?", "总共训练几轮？")
    typed = type_text(question, f"{epochs + 1:g}", check)
    _run_again(partial(prepare_extend, overrides=[f"num_train_epochs={typed}"]), folder)


def _run_again(prepare: Callable[[Path], Prepared], folder: Path) -> None:
    continue_after_failures(*start_again(partial(prepare, folder)))
    pause()
