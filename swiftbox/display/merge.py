"""Progress display of a merge: notes on its checks, then the folder of the result."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, model_done_lines
from swiftbox.runs import events

DISPLAY = TaskDisplay({events.DONE: model_done_lines})
