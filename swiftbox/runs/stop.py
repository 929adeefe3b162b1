"""How a run is asked to save and stop: a file in its folder, and events inside the child."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

STOP_FILE = "stop"

LONGEST_SAVE_S = 900
"""For an orphan to end its step and save; the largest checkpoints take minutes."""


@dataclass(frozen=True)
class Stop:
    """The child's view: was a stop asked for, and is there anything to save yet."""

    requested: threading.Event = field(default_factory=threading.Event)
    can_save: threading.Event = field(default_factory=threading.Event)


STOP = Stop()


def request_stop(folder: Path) -> None:
    """Ask the run in this folder to save and stop; safe to call again."""
    (folder / STOP_FILE).touch()


def stop_requested(folder: Path) -> bool:
    """Tell whether the run was asked to stop."""
    return (folder / STOP_FILE).exists()


def clear_stop_request(folder: Path) -> None:
    """Forget an earlier request, before the run is continued."""
    (folder / STOP_FILE).unlink(missing_ok=True)
