"""Runs inside a run: a pipeline step, or a server for an evaluation; own folder, own child."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import write
from swiftbox.devices.machine import Machine
from swiftbox.errors import ChildError, RunError
from swiftbox.files import write_atomic, write_json
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.command import worker_command
from swiftbox.runs.diagnosis import REFUSED
from swiftbox.runs.plain_files import read_record
from swiftbox.runs.stop import clear_stop_request
from swiftbox.runs.supervise import Child, OnEvent, supervise_inside
from swiftbox.security.origin import signed_yaml

if TYPE_CHECKING:
    import psutil

STOP_TIMEOUT_S = 60.0
"""The time for a server to finish its answers; then its process tree is killed."""

POLL_S = 0.05


def child_of(
    folder: Path, processes: int, env: Mapping[str, str], secrets: Collection[str] = ()
) -> Child:
    """Return the child process of a run folder; it gets the secrets in the variables `secrets`."""
    return Child(worker_command(str(folder), processes), env, frozenset(secrets))


def record_nested(folder: Path, config: TaskConfig, machine: Machine) -> None:
    """Write what a settled run needs to start in its folder, or to continue there."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_stop_request(folder)
    header = [
        text("The complete settings of a run inside another run.", "另一次运行内部的完整配置。")
    ]
    settled = signed_yaml(run_folder.SETTLED, write(config, header=header))
    write_atomic(folder / run_folder.SETTLED, settled)
    write_json(folder / run_folder.MACHINE, machine.to_dict())
    run_folder.update_state(
        folder,
        started=read_record(folder / run_folder.STATE).get("started") or time.time(),
        status="starting",
        ended=None,
        exit_code=None,
    )


def wait_for_orphan(
    folder: Path,
    *,
    timeout_s: float = STOP_TIMEOUT_S,
    stop: threading.Event | None = None,
    on_wait: Callable[[], None] | None = None,
) -> bool:
    """Wait for an orphaned run in a folder to exit; kill it after `timeout_s`.

    An orphan is a child whose supervisor was killed: it saves and exits by itself, and no second
    child may write to the folder meanwhile. Returns False if `stop` was set before it exited.
    Calls `on_wait` once if there is an orphan.
    """
    deadline, waiting = time.monotonic() + timeout_s, False
    while (orphan := _worker_of(folder)) is not None:
        if stop is not None and stop.is_set():
            return False
        if on_wait is not None and not waiting:
            on_wait()
        waiting = True
        if time.monotonic() > deadline:
            _kill(orphan)
        time.sleep(POLL_S)
    return True


class BackgroundRun:
    """A recorded run in the background, supervised by a thread of this process."""

    def __init__(self, folder: Path, child: Child, on_event: OnEvent | None = None) -> None:
        self.folder = folder
        self._on_event = on_event
        self.code: int | None = None
        self._stop = threading.Event()
        self._offset = run_folder.end_of_events(folder)
        self._thread = threading.Thread(target=self._run, args=(child,), daemon=True)
        self._thread.start()

    def _run(self, child: Child) -> None:
        try:
            self.code = supervise_inside(self.folder, child, self._stop, self._on_event)
        finally:
            self.code = 1 if self.code is None else self.code

    @property
    def is_alive(self) -> bool:
        """Tell whether the run has not ended."""
        return self._thread.is_alive()

    def wait_for(
        self, event: str, *, timeout_s: float, stop: threading.Event
    ) -> Mapping[str, Any] | None:
        """Return the first event of that name; None if `stop` was set meanwhile.

        Raises RunError with the reason if the run ends first, or after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not stop.is_set():
            alive = self.is_alive
            unread, self._offset = run_folder.read_events(self.folder, self._offset)
            for record in unread:
                if record.get("event") == event:
                    return record
            if not alive and not unread:
                raise self.failure()
            if time.monotonic() > deadline:
                raise self._not_ready(timeout_s)
            stop.wait(POLL_S)
        return None

    def failure(self) -> RunError:
        """Return the error that ended the run, as its `failed` event reports it."""
        last = run_folder.newest_event(self.folder, events.FAILED)
        reason = str(
            last.get("message") or text("it exited without an error", "已退出，未报告错误")
        )
        trace = str(last.get("traceback") or "").strip()
        message = f"{self.folder.name}: {reason}"
        hint = str(last.get("hint") or "") or self._see_log()
        kind = RunError if last.get("kind") == REFUSED else ChildError
        return kind(f"{message}\n{trace}" if trace else message, hint=hint)

    def _not_ready(self, timeout_s: float) -> RunError:
        return ChildError(
            text(
                f"{self.folder.name} was not ready within {duration(timeout_s)}",
                f"{self.folder.name} 在 {duration(timeout_s)}内未就绪",
            ),
            hint=self._see_log(),
        )

    def _see_log(self) -> str:
        log = self.folder / run_folder.LOG
        return text(f"see {log}", f"请查看 {log}")

    def close(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the run to stop and wait; kill its child after `timeout_s`."""
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _kill(_worker_of(self.folder))
            self._thread.join(timeout_s)


def _worker_of(folder: Path) -> psutil.Process | None:
    """Return the living worker of a run folder.

    The record of a run is not enough: in the folder of a stranger it may name any process. The
    command of the process must be that of a worker of this folder.
    """
    import psutil

    state = read_record(folder / run_folder.STATE)
    pid = state.get("pid")
    if not run_folder.is_alive(pid, state.get("pid_started")):
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(int(str(pid)))
        command = process.cmdline()
        if "swiftbox.worker" in command and str(folder) in command:
            return process
    return None


def _kill(worker: psutil.Process | None) -> None:
    import psutil

    if worker is not None:
        with contextlib.suppress(psutil.Error):
            worker.kill()


@contextlib.contextmanager
def background_run(
    folder: Path,
    config: TaskConfig,
    machine: Machine,
    *,
    child: Callable[[Path], Child] = lambda folder: child_of(folder, 1, {}),
    on_event: OnEvent | None = None,
) -> Iterator[BackgroundRun]:
    """Run a settled config in the background for the duration of the block.

    Waits for an orphaned run in the same folder to exit first. `on_event` gets the events of the
    run, in the thread that supervises it.
    """
    wait_for_orphan(folder)
    record_nested(folder, config, machine)
    running = BackgroundRun(folder, child(folder), on_event)
    try:
        yield running
    finally:
        running.close()
