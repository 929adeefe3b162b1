"""A merge as people watch it: notes on its checks, and the folder at the end."""

from __future__ import annotations

from swiftbox.display.common import TaskDisplay, model_done_lines
from swiftbox.runs import events

DISPLAY = TaskDisplay({events.DONE: model_done_lines})
