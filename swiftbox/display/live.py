"""The view of a run: a live display in a terminal, plain lines anywhere else.

How an event looks is decided by its task (display/lines.py); the view decides where it goes. Lines
stay, in order. A status line is replaced by the next one in a terminal, and printed every few
seconds elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from swiftbox.display import download
from swiftbox.display.common import phase_title
from swiftbox.display.lines import lines_of, status_line
from swiftbox.display.train import TrainingPanel
from swiftbox.runs import events
from swiftbox.runs.events import Event
from swiftbox.security.printable import printable

SECONDS_BETWEEN_LINES = 5.0
"""Plain status lines go to logs and slow links."""


def printable_event(event: Event) -> Event:
    """Return an event whose names and texts can be shown, at any depth."""
    return {_printable_value(name): _printable_value(value) for name, value in event.items()}


def _printable_value(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, lines=True)
    if isinstance(value, Mapping):
        return printable_event(value)
    if isinstance(value, (list, tuple)):
        return [_printable_value(part) for part in value]
    return value


class View:
    """Shows the events of a run of a task; a context manager, since a live display is closed."""

    def __init__(self, task: str, *, plain: bool = False, stream: TextIO | None = None) -> None:
        self.task = task
        self.stream = stream or sys.stderr
        self.phase = ""
        self.transfer: Event | None = None
        """The last progress event of the current download."""
        self.training = TrainingPanel()
        self.step_tasks: dict[str, str] = {}
        """Task of each pipeline step, by the step's name."""
        self.has_ended = False
        self.last_line = 0.0
        self.live: Any = None
        dumb = os.environ.get("TERM", "") in ("", "dumb")
        self.plain = plain or dumb or not self.stream.isatty()

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self.live.stop()
            self.live = None

    def _open(self) -> None:
        """Open the live display; not before the first event, since a run may ask something."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream)
        self.live = Live(console=console, auto_refresh=False, transient=False)
        self.live.start()

    def event(self, event: Event) -> None:
        """Show one event of the run, or of a step of it; its texts may quote strangers."""
        event = printable_event(event)
        if self.live is None and not self.plain:
            self._open()
        if event["event"] == events.INNER:
            self._show(event["inner"], self.step_tasks.get(event["of"], ""))
        else:
            self.has_ended = event["event"] in events.ENDING
            self._show(event, self.task)

    def _show(self, event: Event, task: str) -> None:
        self._update(event)
        status = status_line(event, task)
        if status is not None:
            self._show_status(event, status)
        for line in lines_of(event, task):
            self._print(line)
        if self.live is not None:
            self.live.update(self.panel(self.live.console.width), refresh=True)

    def _update(self, event: Event) -> None:
        """Keep what the panel shows up to date."""
        match event["event"]:
            case events.PART:
                self.step_tasks[event["name"]] = event["task"]
                self.phase, self.transfer, self.training = "", None, TrainingPanel()
            case events.STAGE:
                self.phase, self.transfer = phase_title(event), None
            case events.FETCHED | events.MISSED:
                self.transfer = None
            case events.PROGRESS:
                self.transfer = event
            case _:
                self.training.update(event)

    def _show_status(self, event: Event, line: str) -> None:
        """Print a status line if it is due; the last step always is."""
        if self.live is not None:
            if event["event"] == events.ANSWERS:
                self.phase = line.strip()
            return
        is_last = event["event"] == events.STEP and event["step"] == event["total_steps"]
        now = time.monotonic()
        if is_last or now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._print(line)

    def _print(self, line: str) -> None:
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False)
        else:
            self.stream.write(line + "\n")
            self.stream.flush()

    def panel(self, columns: int) -> Any:
        """Return what the live display shows, for a terminal of that width."""
        from rich.text import Text

        unicode = "utf" in (getattr(self.stream, "encoding", "") or "").lower()
        if self.transfer is not None:
            return download.panel(self.transfer, columns, unicode=unicode)
        if self.training.last_step is not None:
            step = self.training.last_step
            return self.training.render(step, self.phase, columns, unicode=unicode)
        return Text("" if self.has_ended else f"{self.phase} …".lstrip())
