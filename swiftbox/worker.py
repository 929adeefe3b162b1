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
from swiftbox.files import explain_refused_paths, is_writable
from swiftbox.language import CACHE_VARIABLE, accept_any_text, home, text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import REFUSED, STOPPED_ITSELF, diagnose
from swiftbox.runs.endings import status_and_code
from swiftbox.runs.optional_packages import hide_packages
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import SAVE_TIMEOUT_S, STOP, stop_requested
from swiftbox.security.orphans import wake_when_orphaned
from swiftbox.security.printable import printable
from swiftbox.security.private import restrict_umask
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

POLL_S = 0.5
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the task of a run folder; return the exit code."""
    restrict_umask()
    accept_any_text("utf-8")  # log.txt is read as UTF-8
    folder = Path((arguments if arguments is not None else sys.argv[1:])[0])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask_to_stop)
    wake_when_orphaned()
    if not is_writable(home()):
        os.environ[CACHE_VARIABLE] = str(folder.resolve() / "cache")
    watcher = threading.Thread(target=_watch_for_stop, args=(folder,), daemon=True)
    watcher.start()
    code = run_task(folder)
    _record_end_of_orphan(folder)
    return code


def run_task(folder: Path) -> int:
    """Run the task and record how it ended."""

    def emit(event: str, **fields: Any) -> None:
        if _rank() == 0:
            # A full disk must not hide the error that it causes: the event is also in the log.
            with contextlib.suppress(OSError):
                run_folder.append_event(folder, event, **fields)

    task_name = "train"
    try:
        config = load(folder / run_folder.SETTLED).config
        task, task_name = TASKS[config.task], config.task
        hide_packages(task.unused_packages(config))
        with explain_refused_paths():
            result = task.run(config, folder, emit)
    except Exception as error:  # noqa: BLE001 - the one boundary: recorded, reported, never hidden
        kind, hint = diagnose(error, task_name)
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


def _watch_for_stop(folder: Path) -> None:
    """Stop on a signal, on a request in the folder or if the supervisor is gone; save if possible.

    Before there is anything to save, the process ends at once.
    """
    while True:
        gone = _is_orphan()
        if gone or stop_requested(folder):
            STOP.requested.set()
        if STOP.requested.is_set() and not STOP.can_save.is_set():
            _end_unsaved(folder)
        if gone:
            _wake_launcher()
            time.sleep(SAVE_TIMEOUT_S)
            os._exit(INTERRUPTED)  # no supervisor is left to kill a step that hangs
        if STOP.requested.is_set():
            time.sleep(POLL_S)
        else:
            STOP.requested.wait(POLL_S)


def _end_unsaved(folder: Path) -> None:
    """Record that the run was stopped before it could save anything, and end the process."""
    if _rank() == 0 and not _is_replaced(folder):
        with contextlib.suppress(OSError):
            run_folder.append_event(folder, events.STOPPED, step=None)
        _record_end_of_orphan(folder)
    if _is_orphan():
        _wake_launcher()
    os._exit(INTERRUPTED)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _is_orphan() -> bool:
    """Tell whether the supervisor of this process is gone."""
    pid, _, started = os.environ.get("SWIFTBOX_SUPERVISOR", "").partition(":")
    return bool(pid) and not run_folder.is_alive(int(pid), float(started))


def _is_replaced(folder: Path) -> bool:
    """Tell whether the run was resumed under another supervisor since this process started."""
    supervisor = read_record(folder / run_folder.STATE).get("supervisor")
    pid = os.environ.get("SWIFTBOX_SUPERVISOR", "").partition(":")[0]
    return bool(pid) and supervisor is not None and str(supervisor) != pid


def _record_end_of_orphan(folder: Path) -> None:
    """Record how the run ended if its supervisor, which does it otherwise, is gone."""
    if _rank() != 0 or not _is_orphan() or _is_replaced(folder):
        return
    ending = run_folder.newest_event(folder, *events.ENDING)
    if not ending:
        return
    status, code = status_and_code(ending)
    with contextlib.suppress(OSError):
        run_folder.update_state(folder, status=status, ended=time.time(), exit_code=code)


def _wake_launcher() -> None:
    """Continue a torchrun that is paused: it waits for this process and then ends."""
    if "LOCAL_RANK" in os.environ:
        with contextlib.suppress(OSError):
            os.kill(os.getppid(), signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
