"""From an event to the lines shown for it, chosen by the task that emitted it."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.display import (
    chat,
    common,
    deploy,
    download,
    evaluate,
    extract,
    merge,
    mix,
    pipeline,
    quantize,
    starter,
    train,
)
from swiftbox.display.common import TaskDisplay
from swiftbox.runs import events
from swiftbox.runs.events import Event

DISPLAYS: Mapping[str, TaskDisplay] = {
    "chat": chat.DISPLAY,
    "deploy": deploy.DISPLAY,
    "download": download.DISPLAY,
    "evaluate": evaluate.DISPLAY,
    "extract": extract.DISPLAY,
    "merge": merge.DISPLAY,
    "mix": mix.DISPLAY,
    "pipeline": pipeline.DISPLAY,
    "quantize": quantize.DISPLAY,
    "starter": starter.DISPLAY,
    "train": train.DISPLAY,
}

NO_TASK = TaskDisplay({})
"""The display of a run whose record does not name its task: only shared events."""


def display_of(event: Event, task: str) -> TaskDisplay:
    """Return the display of the task that emitted an event.

    An ending names its task. Other events, and endings of old records, belong to `task`.
    """
    if event["event"] in events.ENDING:
        task = event.get("task") or task
    return DISPLAYS.get(task, NO_TASK)


def lines_of(event: Event, task: str) -> list[str]:
    """Return the permanent lines of an event; none for an event that is not shown."""
    name = event["event"]
    shown = display_of(event, task).lines.get(name) or common.LINES.get(name)
    return shown(event) if shown is not None else []


def status_line(event: Event, task: str) -> str | None:
    """Return the line of an event that the next one replaces; None for other events."""
    name = event["event"]
    if name == events.PROGRESS:  # every task downloads what it needs
        return download.progress_line(event)
    shown = display_of(event, task).status.get(name)
    return shown(event) if shown is not None else None
