"""How long each phase of a run takes until its first step."""

from __future__ import annotations

import time
from typing import Any

import psutil

from swiftbox.runs import events
from swiftbox.runs.events import Emit


class PhaseClock:
    """Emits events, and keeps when each phase of this process began."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._created = time.time()
        self._began = [("start", psutil.Process().create_time())]

    def __call__(self, event: str, **fields: Any) -> None:
        """Record an event; a phase ends the one before it."""
        if event == events.STAGE:
            self._began.append((fields["name"], time.time()))
        self._emit(event, **fields)

    def seconds(self) -> float:
        """Return the seconds since the clock was created."""
        return round(time.time() - self._created, 1)

    def phases(self) -> dict[str, float]:
        """Return the seconds of each phase until now."""
        ends = [*(begin for _, begin in self._began[1:]), time.time()]
        phases = zip(self._began, ends, strict=True)
        return {name: round(end - begin, 2) for (name, begin), end in phases}
