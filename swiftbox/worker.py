"""The child: read settled.yaml of a run folder, do the task, record events (rank 0 only)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from swiftbox.errors import UserError
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import REFUSED, STOPPED_ITSELF, diagnose
from swiftbox.runs.stop import LONGEST_SAVE_S, STOP, stop_requested
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

LOOK_AGAIN_S = 0.5
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Carry out the run in the folder given; return its exit code."""
    folder = Path((arguments if arguments is not None else sys.argv[1:])[0])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)
    watcher = threading.Thread(target=_watch, args=(folder,), daemon=True)
    watcher.start()
    return work(folder)


def work(folder: Path) -> int:
    """Do the task and record how it ended."""
    rank = int(os.environ.get("RANK", "0"))

    def emit(event: str, **fields: Any) -> None:
        if rank == 0:
            # A full disk must not hide the error that it causes: the event is also in the log.
            with contextlib.suppress(OSError):
                run_folder.append_event(folder, event, **fields)

    try:
        config = load(folder / run_folder.SETTLED).config
        result = TASKS[config.task].run(config, folder, emit)
    except Exception as error:  # noqa: BLE001 - the one boundary: recorded, reported, never hidden
        kind, hint = diagnose(error)
        if kind == REFUSED and STOP.can_save.is_set():
            kind = STOPPED_ITSELF  # the request was right; the training went wrong
        trace = "" if isinstance(error, UserError) else traceback.format_exc()
        with contextlib.suppress(OSError):
            run_folder.append_event(
                folder,
                events.FAILED,
                kind=kind,
                message=_message(error),
                hint=hint,
                traceback=trace,
            )
        sys.stderr.write(trace or f"error: {error}\nhint: {hint}\n")
        return 2 if kind == REFUSED else 1
    return INTERRUPTED if result is None else 0


def _message(error: BaseException) -> str:
    if isinstance(error, UserError):
        return error.message
    return f"{type(error).__name__}: {error}"


def _ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    STOP.requested.set()
    if not STOP.can_save.is_set():
        os._exit(INTERRUPTED)


def _watch(folder: Path) -> None:
    """Stop when asked through the folder or when the supervisor is gone; save if possible."""
    supervisor = os.environ.get("SWIFTBOX_SUPERVISOR", "")
    pid, _, started = supervisor.partition(":")
    while True:
        gone = bool(pid) and not run_folder.is_alive(int(pid), float(started))
        if gone or stop_requested(folder):
            STOP.requested.set()
            if not STOP.can_save.is_set():
                os._exit(INTERRUPTED)
            if gone:
                time.sleep(LONGEST_SAVE_S)
                os._exit(INTERRUPTED)  # nobody is left to end a step that never ends
            return
        if STOP.requested.wait(LOOK_AGAIN_S):
            return


if __name__ == "__main__":
    sys.exit(main())
