"""Progress display of a mix: weights as they are mixed, then the folder of the result."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, model_done_lines
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def weight_line(event: Event) -> str:
    """Return how many weights are mixed."""
    progress = f"{event['done']}/{event['of']}"
    return text(f"  weight {progress}", f"  第 {progress} 个权重")


DISPLAY = TaskDisplay({events.DONE: model_done_lines}, status={events.MIXING: weight_line})
