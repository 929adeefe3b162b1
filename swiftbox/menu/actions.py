"""What the menu does with a YAML: show it, save it, and run it as the command line does."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit.utils import get_cwidth

from swiftbox.display.live import View
from swiftbox.files import write_atomic
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.menu.home import keys_kept
from swiftbox.menu.questions import pause, say, select, type_in
from swiftbox.runs import folder as run_folder

LOOK_AGAIN_S = 0.1


def show_yaml(yaml: str) -> None:
    """Print a YAML between empty lines, as wide as the terminal."""
    say("")
    for line in yaml.splitlines():
        say(cropped(line))
    say("")


def cropped(line: str) -> str:
    """Return as much of a line as the terminal is wide; of a comment alone anything is cut."""
    width = shutil.get_terminal_size().columns - 1
    shortest = 0 if line.startswith("#") else len(line.partition("  # ")[0].rstrip())
    while get_cwidth(line) > width and len(line) > shortest:
        line = line[:-1]
    return line.rstrip()


def save_as(proposed: str, content: Callable[[Path], str]) -> Path:
    """Write a YAML under a name of the user's; an existing file is overwritten only when told.

    `content` gives the text for the name, which its header may tell.
    """
    while True:
        path = Path(type_in(text("Save as", "保存为"), proposed, _needs_name)).expanduser()
        wanted = content(path)
        if path.exists() and path.read_text(encoding="utf-8") != wanted:
            options = [(False, text("another name", "换个名字")), (True, text("overwrite", "覆盖"))]
            if not select(text(f"{path} exists", f"{path} 已存在"), options):
                continue
        try:
            write_atomic(path, wanted)
        except OSError as error:
            say(f"error: {error}")
            continue
        say(text(f"saved {path}", f"已保存 {path}"))
        return path


def _needs_name(typed: str) -> str:
    return "" if typed else text("a name is needed", "请输入文件名")


def carry_out(prepared: Prepared, *, detach: bool, lasts: bool = False) -> Path | None:
    """Run what was prepared with the live view, or in the background.

    Returns the run's folder when it is done, and that of one that `lasts` once it is ready in the
    background; else waits until the user has read what was said.
    """
    ready = record(prepared)
    folder = ready.folder
    say(text(f"run folder: {folder}", f"运行目录：{folder}"))
    if detach:
        run(ready, detach=True)
        if lasts and wait_until_served(folder):
            return folder
        say(text("follow it under `My runs`", "可在“我的运行”中跟踪"))
    else:
        with keys_kept(), View(ready.plan.config.task) as view:
            code = run(ready, on_event=view.event)
        if code == 0:
            return folder
        say(text(f"log: {folder / run_folder.LOG}", f"日志：{folder / run_folder.LOG}"))
    pause()
    return None


def wait_until_served(folder: Path) -> bool:
    """Show what a run in the background does until it serves; tell whether it does.

    Ctrl-C stops looking and leaves the run alone.
    """
    offset = 0
    say(text("getting ready (Ctrl-C leaves it to that)", "准备中（Ctrl-C 退出等待，服务继续）"))
    task = run_folder.task_of(folder)
    with contextlib.suppress(KeyboardInterrupt), keys_kept(), View(task) as view:
        while True:
            active = run_folder.find(str(folder)).is_active
            events, offset = run_folder.read_events(folder, offset)
            for event in events:
                view.event(event)
            if run_folder.find(str(folder)).state.get("url"):
                return True
            if not active:
                break
            time.sleep(LOOK_AGAIN_S)
    return False
