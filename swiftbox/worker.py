"""The child of a run: read settled.yaml of its folder, run the task, record events (rank 0)."""

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
from swiftbox.language import accept_any_text, text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import REFUSED, STOPPED_ITSELF, diagnose
from swiftbox.runs.optional_packages import hide_packages
from swiftbox.runs.stop import SAVE_TIMEOUT_S, STOP, stop_requested
from swiftbox.security.printable import printable
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

POLL_S = 0.5
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the task of a run folder; return the exit code."""
    accept_any_text("utf-8")  # log.txt is read as UTF-8
    folder = Path((arguments if arguments is not None else sys.argv[1:])[0])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)
    watcher = threading.Thread(target=_watch_for_stop, args=(folder,), daemon=True)
    watcher.start()
    return run_task(folder)


def run_task(folder: Path) -> int:
    """Run the task and record how it ended."""
    rank = int(os.environ.get("RANK", "0"))

    def emit(event: str, **fields: Any) -> None:
        if rank == 0:
            # A full disk must not hide the error that it causes: the event is also in the log.
            with contextlib.suppress(OSError):
                run_folder.append_event(folder, event, **fields)

    try:
        config = load(folder / run_folder.SETTLED).config
        task = TASKS[config.task]
        hide_packages(task.unused_packages(config))
        result = task.run(config, folder, emit)
    except Exception as error:  # noqa: BLE001 - the one boundary: recorded, reported, never hidden
        kind, hint = diagnose(error)
        if kind == REFUSED and STOP.can_save.is_set():
            kind = STOPPED_ITSELF  # the config was valid; the training went wrong
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
        sys.stderr.write(printable(trace or _log_lines(_message(error), hint), lines=True))
        return 2 if kind == REFUSED else 1
    return INTERRUPTED if result is None else 0


def _log_lines(message: str, hint: str) -> str:
    lines = [text(f"error: {message}", f"错误：{message}")]
    if hint:
        lines.append(text(f"hint: {hint}", f"建议：{hint}"))
    return "".join(f"{line}\n" for line in lines)


def _message(error: BaseException) -> str:
    if isinstance(error, UserError):
        return error.message
    return f"{type(error).__name__}: {error}"


def _ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    STOP.requested.set()
    if not STOP.can_save.is_set():
        os._exit(INTERRUPTED)


def _watch_for_stop(folder: Path) -> None:
    """Stop on a request in the folder or if the supervisor is gone; save if possible."""
    supervisor = os.environ.get("SWIFTBOX_SUPERVISOR", "")
    pid, _, started = supervisor.partition(":")
    while True:
        gone = bool(pid) and not run_folder.is_alive(int(pid), float(started))
        if gone or stop_requested(folder):
            STOP.requested.set()
            if not STOP.can_save.is_set():
                os._exit(INTERRUPTED)
            if gone:
                time.sleep(SAVE_TIMEOUT_S)
                os._exit(INTERRUPTED)  # no supervisor is left to kill a step that hangs
            return
        if STOP.requested.wait(POLL_S):
            return


if __name__ == "__main__":
    sys.exit(main())
