"""The screen of each task: one row; a task without a row has the default screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from swiftbox.devices.probe import Probe
from swiftbox.language import text
from swiftbox.menu import (
    chat_screen,
    download_screen,
    evaluate_screen,
    pipeline_screen,
    training_screen,
)
from swiftbox.menu.review_screen import TaskScreen
from swiftbox.menu.start_screen import open_form
from swiftbox.menu.terminal import print_line
from swiftbox.tasks import TASKS

ADAPTER_OR_MODEL = ("adapter", "model")

SCREENS: Mapping[str, TaskScreen] = {
    "train": training_screen.SCREEN,
    "download": download_screen.SCREEN,
    "merge": TaskScreen(("merge it", "开始合并"), ("merge it in the background", "后台合并")),
    "mix": TaskScreen(("mix them", "开始混合"), ("mix them in the background", "后台混合")),
    "extract": TaskScreen(("extract it", "开始提取"), ("extract it in the background", "后台提取")),
    "quantize": TaskScreen(
        ("quantize it", "开始量化"),
        ("quantize it in the background", "后台量化"),
        subjects=ADAPTER_OR_MODEL,
    ),
    "evaluate": evaluate_screen.SCREEN,
    "deploy": TaskScreen(
        ("serve it here until Ctrl-C", "在此提供服务，Ctrl-C 结束"),
        ("serve it in the background", "后台提供服务"),
        serves=True,
        subjects=ADAPTER_OR_MODEL,
    ),
    "chat": chat_screen.SCREEN,
    "pipeline": pipeline_screen.SCREEN,
}

OpenTask = Callable[[Probe], Path | None]

FIRST_QUESTIONS: Mapping[str, OpenTask] = {
    "train": training_screen.open_training,
    "download": download_screen.open_downloads,
    "chat": chat_screen.open_chat,
    "pipeline": pipeline_screen.open_pipeline,
}
"""Tasks that do not start with the form of their fields."""


def screen_of(task: str) -> TaskScreen:
    """Return the screen of a task."""
    return SCREENS.get(task, TaskScreen())


def open_task(task: str, probe: Probe) -> Path | None:
    """Go through a task from its first question; return the folder of a run that is done."""
    if task not in TASKS:
        print_line(text(f"task: {task} is not part of this version", f"此版本不含 task: {task}"))
        return None
    if task in FIRST_QUESTIONS:
        return FIRST_QUESTIONS[task](probe)
    return open_form(task, screen_of(task), probe)
