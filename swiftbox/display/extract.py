"""Progress display of an extraction: layers as they finish, then the folder of the adapter."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, adapter_done_lines
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def layer_line(event: Event) -> str:
    """Return how many layers have their factors."""
    progress = f"{event['done']}/{event['of']}"
    return text(f"  layer {progress}", f"  第 {progress} 层")


DISPLAY = TaskDisplay({events.DONE: adapter_done_lines}, status={events.EXTRACTING: layer_line})
