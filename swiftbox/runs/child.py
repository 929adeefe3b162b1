"""Runs inside a run: a step of a pipeline, a server beside an evaluation. Own folder, own child."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.task import TaskConfig
from swiftbox.config.writing import write
from swiftbox.devices.machine import Machine
from swiftbox.errors import RunError
from swiftbox.files import read_json, write_atomic, write_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs import stop as control
from swiftbox.runs.supervise import Child, OnEvent, supervise_inside

STOP_WITHIN_S = 60.0
"""For a server to end what it answers; then it is ended with its family."""

LOOK_AGAIN_S = 0.05


def worker_command(folder: str, processes: int) -> list[str]:
    """Return the command that carries out the run in a folder."""
    worker = ["-m", "swiftbox.worker", folder]
    if processes == 1:
        return [sys.executable, *worker]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        *worker,
    ]


def child_of(folder: Path, processes: int, env: Mapping[str, str]) -> Child:
    """Return the child of a run folder."""
    return Child(worker_command(str(folder), processes), env)


def record_nested(folder: Path, config: TaskConfig, machine: Machine) -> None:
    """Write what a settled run needs to begin in its folder, or to go on there."""
    folder.mkdir(parents=True, exist_ok=True)
    control.clear_stop_request(folder)
    header = [text("What was carried out, inside another run.", "在另一次运行之中执行的配置。")]
    settled = write(config, header=header)
    write_atomic(folder / run_folder.SETTLED, settled)
    write_json(folder / run_folder.MACHINE, machine.to_dict())
    began = read_json(folder / run_folder.STATE).get("started") or time.time()
    run_folder.update_state(folder, started=began, status="starting", ended=None, exit_code=None)


def wait_for_orphan(
    folder: Path,
    *,
    within_s: float = STOP_WITHIN_S,
    stop: threading.Event | None = None,
    on_wait: Callable[[], None] | None = None,
) -> bool:
    """Wait for a run that its own supervisor left behind in a folder; end it when it stays.

    A child whose supervisor was killed saves and ends by itself; two must never write at once.
    Returns whether none is there any more: not when `stop` was set first, and it still saves.
    `on_wait` is called once where there is one to wait for.
    """
    until, waits = time.monotonic() + within_s, False
    state: Mapping[str, Any] = read_json(folder / run_folder.STATE)
    while run_folder.is_alive(state.get("pid"), state.get("pid_started")):
        if stop is not None and stop.is_set():
            return False
        if on_wait is not None and not waits:
            on_wait()
        waits = True
        if time.monotonic() > until:
            _kill(folder)
        time.sleep(LOOK_AGAIN_S)
    return True


def run_nested(
    folder: Path, child: Child, stop: threading.Event, on_event: OnEvent | None = None
) -> int:
    """Carry out a recorded run to its end; return its exit code."""
    return supervise_inside(folder, child, stop, on_event)


class BackgroundRun:
    """A recorded run that goes on beside the one that began it, in a thread of this process."""

    def __init__(self, folder: Path, child: Child, on_event: OnEvent | None = None) -> None:
        self.folder = folder
        self._on_event = on_event
        self.code: int | None = None
        self._stop = threading.Event()
        self._offset = run_folder.read_events(folder)[1]
        self._thread = threading.Thread(target=self._run, args=(child,), daemon=True)
        self._thread.start()

    def _run(self, child: Child) -> None:
        try:
            self.code = supervise_inside(self.folder, child, self._stop, self._on_event)
        finally:
            self.code = 1 if self.code is None else self.code

    @property
    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        return self._thread.is_alive()

    def wait_for(
        self, event: str, *, within_s: float, stop: threading.Event
    ) -> Mapping[str, Any] | None:
        """Return the first event of that name; None when `stop` was set meanwhile.

        Raises RunError, with its last words, when the run ends first or the time is over.
        """
        until = time.monotonic() + within_s
        while not stop.is_set():
            alive = self.is_alive
            found, self._offset = run_folder.read_events(self.folder, self._offset)
            for one in found:
                if one.get("event") == event:
                    return one
            if not alive and not found:
                raise self.failure()
            if time.monotonic() > until:
                raise RunError(
                    text(
                        f"{self.folder.name} was not ready within {within_s:.0f} s",
                        f"{self.folder.name} 在 {within_s:.0f} 秒内未就绪",
                    ),
                    hint=text(
                        f"see {self.folder / run_folder.LOG}",
                        f"见 {self.folder / run_folder.LOG}",
                    ),
                )
            stop.wait(LOOK_AGAIN_S)
        return None

    def failure(self) -> RunError:
        """Return what ended it, in its own last words."""
        endings = [
            one
            for one in run_folder.read_events(self.folder)[0]
            if one.get("event") == events.FAILED
        ]
        last = endings[-1] if endings else {}
        said = str(last.get("message") or text("it ended", "已结束"))
        trace = str(last.get("traceback") or "").strip()
        message = f"{self.folder.name}: {said}"
        hint = str(last.get("hint") or "") or text(
            f"see {self.folder / run_folder.LOG}", f"见 {self.folder / run_folder.LOG}"
        )
        return RunError(f"{message}\n{trace}" if trace else message, hint=hint)

    def close(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Ask it to stop, and wait; the supervisor's own end takes what is left."""
        self._stop.set()
        self._thread.join(within_s)
        if self._thread.is_alive():
            _kill(self.folder)
            self._thread.join(within_s)


def _kill(folder: Path) -> None:
    import psutil

    state: Mapping[str, Any] = read_json(folder / run_folder.STATE)
    pid, started = state.get("pid"), state.get("pid_started")
    if run_folder.is_alive(pid, started):
        with contextlib.suppress(psutil.Error):
            psutil.Process(int(str(pid))).kill()


@contextlib.contextmanager
def background_run(
    folder: Path,
    config: TaskConfig,
    machine: Machine,
    *,
    child: Callable[[Path], Child] = lambda folder: child_of(folder, 1, {}),
    on_event: OnEvent | None = None,
) -> Iterator[BackgroundRun]:
    """Keep a settled run going beside this one for as long as the block lasts.

    `on_event` gets its events, in a thread of their own. One that an earlier block left behind in
    the folder is outlived first.
    """
    wait_for_orphan(folder)
    record_nested(folder, config, machine)
    running = BackgroundRun(folder, child(folder), on_event)
    try:
        yield running
    finally:
        running.close()
