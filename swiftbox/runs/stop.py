"""The request to save and stop a run: a file in its folder, and events inside its child."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.runs.plain_files import touch_plain

STOP_FILE = "stop"

SAVE_TIMEOUT_S = 900
"""The time for an orphan to finish its step and save; the largest checkpoints take minutes."""


@dataclass(frozen=True)
class Stop:
    """A stop as the child sees it: whether it was requested, and whether there is work to save."""

    requested: threading.Event = field(default_factory=threading.Event)
    can_save: threading.Event = field(default_factory=threading.Event)


STOP = Stop()


def request_stop(folder: Path) -> None:
    """Ask the run in a folder to save and stop; calling it again changes nothing."""
    touch_plain(folder / STOP_FILE)


def stop_requested(folder: Path) -> bool:
    """Tell whether the run in a folder was asked to stop."""
    return os.path.lexists(folder / STOP_FILE)


def clear_stop_request(folder: Path) -> None:
    """Delete an earlier request before the run is continued."""
    (folder / STOP_FILE).unlink(missing_ok=True)
