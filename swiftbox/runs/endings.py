"""The status and the exit code of a run that ended, from the event that ended it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from swiftbox.runs import events
from swiftbox.runs.diagnosis import REFUSED

DONE, FAILED, WRONG, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes: finished, failed, the request is wrong, finished without some steps, stopped."""

PARTIAL_STATUS: Final = "partial"
"""The status of a pipeline that finished without the steps that it skipped."""


def status_and_code(ending: Mapping[str, Any]) -> tuple[str, int]:
    """Return the status and the exit code that the last event of a run stands for.

    Without an event (an empty mapping) the child exited with 0.
    """
    status = str(ending.get("event") or events.DONE)
    if status == events.DONE and ending.get("skipped"):
        return PARTIAL_STATUS, PARTIAL
    codes = {events.DONE: DONE, events.FAILED: FAILED, events.STOPPED: INTERRUPTED}
    return status, WRONG if ending.get("kind") == REFUSED else codes[status]
