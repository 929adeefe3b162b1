"""Actions of a review on a draft: print its YAML, save it, run it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from swiftbox.display.live import View
from swiftbox.errors import RunError
from swiftbox.files import write_atomic
from swiftbox.formatting import cut, width
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.menu.failure_screen import continue_after_failures
from swiftbox.menu.questions import pause, select, type_text
from swiftbox.menu.terminal import columns, hold_typed_keys, print_error, print_line
from swiftbox.runs import folder as run_folder
from swiftbox.runs.endings import DONE, PARTIAL
from swiftbox.security.private import user_umask

POLL_S = 0.1

MIN_COMMENT_CELLS = 12
"""A comment that would be shorter than this is left out."""


def print_yaml(yaml: str) -> None:
    """Print a YAML between empty lines, its comments cut to the terminal."""
    print_line()
    for line in yaml.splitlines():
        print_line(cut_comment(line))
    print_line()


def cut_comment(line: str) -> str:
    """Cut the comment of a line of YAML to the terminal; a key and its value are never cut."""
    if line.startswith("#"):
        return cut(line, columns())
    value = line.partition("  # ")[0].rstrip()
    start = width(line.partition("  # ")[0]) + width("  # ")
    if columns() - start < MIN_COMMENT_CELLS and width(line) > columns():
        return value
    return cut(line, columns())


def save_as(proposed: str, content: Callable[[Path], str]) -> Path:
    """Ask for a file name and write a YAML there; overwrite another file only after a question.

    `content` returns the text for a path, as its header names it.
    """
    while True:
        path = Path(type_text(text("Save as", "保存为"), proposed, _require_name)).expanduser()
        yaml = content(path)
        if path.exists() and path.read_text(encoding="utf-8") != yaml:
            choices = [(False, text("another name", "换个名字")), (True, text("overwrite", "覆盖"))]
            if not select(text(f"{path} exists", f"{path} 已存在"), choices):
                continue
        try:
            with user_umask():
                write_atomic(path, yaml)
        except OSError as error:
            print_error(
                RunError(
                    text(
                        f"cannot write {path}: {error.strerror}",
                        f"无法写入 {path}：{error.strerror}",
                    ),
                    hint=text("choose another file", "请另选文件"),
                )
            )
            continue
        print_line(text(f"saved {path}", f"已保存 {path}"))
        return path


def _require_name(typed: str) -> str:
    return "" if typed else text("enter a file name", "请输入文件名")


def run_prepared(prepared: Prepared, *, detach: bool, serves: bool = False) -> Path | None:
    """Run what was prepared, with the live view or in the background.

    Returns the run's folder once it is done, or once one that `serves` is ready in the background.
    Otherwise waits until the user has read the screen, and returns None.
    """
    ready = record(prepared)
    folder = ready.folder
    print_line(text(f"run folder: {folder}", f"运行目录：{folder}"))
    if detach:
        run(ready, detach=True)
        if serves and wait_until_serving(folder):
            return folder
        print_line(text("follow it under `My runs`", "可在“我的运行”中跟踪"))
    else:
        with hold_typed_keys(), View(ready.plan.config.task) as view:
            exit_code = run(ready, on_event=view.event)
        exit_code = continue_after_failures(folder, exit_code)
        if exit_code in (DONE, PARTIAL):
            return folder
        print_line(text(f"log: {folder / run_folder.LOG}", f"日志：{folder / run_folder.LOG}"))
    pause()
    return None


def wait_until_serving(folder: Path) -> bool:
    """Show the events of a run in the background until it serves; tell whether it does.

    Ctrl-C stops waiting and leaves the run alone.
    """
    offset = 0
    print_line(text("starting (Ctrl-C: stop waiting)", "正在启动（Ctrl-C 退出等待，服务继续）"))
    task = run_folder.task_of(folder)
    with contextlib.suppress(KeyboardInterrupt), hold_typed_keys(), View(task) as view:
        while True:
            was_active = run_folder.find(str(folder)).is_active
            unread, offset = run_folder.read_events(folder, offset)
            for event in unread:
                view.event(event)
            if run_folder.find(str(folder)).state.get("url"):
                return True
            if not was_active:
                break
            time.sleep(POLL_S)
    return False
