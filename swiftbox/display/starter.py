"""Progress display of the task that creates the starter model."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, model_done_lines
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Event


def data_lines(event: Event) -> list[str]:
    """Return how much data was written."""
    texts, conversations = event["texts"], event["conversations"]
    return [
        text(
            f"  {texts} texts, {conversations} conversations",
            f"  {texts} 篇文本，{conversations} 段对话",
        )
    ]


DISPLAY = TaskDisplay({events.MADE: data_lines, events.DONE: model_done_lines})
