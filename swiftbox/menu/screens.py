"""The screen of each task: one small row; a task without a row has the plain one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swiftbox.language import text
from swiftbox.menu import chat_screen as chatting
from swiftbox.menu import download_screen as downloading
from swiftbox.menu import evaluate_screen as evaluating
from swiftbox.menu import pipeline_screen as chaining
from swiftbox.menu import start_screen as starting
from swiftbox.menu import training_screen as training
from swiftbox.menu.questions import say
from swiftbox.menu.review_screen import Screen
from swiftbox.tasks import TASKS

WHAT = ("adapter", "model")
"""What the tasks after a training are about."""


SCREENS: Mapping[str, Screen] = {
    "train": training.SCREEN,
    "download": downloading.SCREEN,
    "merge": Screen(("merge it", "开始合并"), ("merge it in the background", "后台合并")),
    "quantize": Screen(
        ("quantize it", "开始量化"),
        ("quantize it in the background", "后台量化"),
        either=WHAT,
    ),
    "evaluate": Screen(
        ("evaluate it", "开始评测"),
        ("evaluate it in the background", "后台评测"),
        either=WHAT,
        extras=evaluating.extras,
    ),
    "deploy": Screen(
        ("serve it here, until Ctrl-C", "在此提供服务，Ctrl-C 结束"),
        ("serve it in the background", "后台提供服务"),
        either=WHAT,
        lasts=True,
    ),
    "chat": chatting.SCREEN,
    "pipeline": chaining.SCREEN,
}

Begin = Callable[[Any], Path | None]

OWN_WAYS: Mapping[str, Begin] = {
    "train": training.begin,
    "download": downloading.begin,
    "chat": chatting.begin,
    "pipeline": chaining.begin,
}
"""Tasks that are begun otherwise than with their form."""


def screen_of(task: str) -> Screen:
    """Return the screen of a task."""
    return SCREENS.get(task, Screen())


def begin(task: str, probe: Any) -> Path | None:
    """Go through a task from its first question; return the run's folder once it is done."""
    if task not in TASKS:
        say(text(f"task: {task} is not part of this version", f"此版本没有 task: {task}"))
        return None
    if task in OWN_WAYS:
        return OWN_WAYS[task](probe)
    return starting.begin(task, screen_of(task), probe)
