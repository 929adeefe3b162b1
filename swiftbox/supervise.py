"""Watch over the child of a run: signals, liveness, its last words; leave no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from swiftbox import control, run_folder
from swiftbox.diagnosis import killed
from swiftbox.language import text
from swiftbox.plan import Plan, plan

OnEvent = Callable[[Mapping[str, Any]], None]

POLL_S = 0.1
LAST_WORDS = 40
"""Lines of the log that go into the report of a death without a recorded error."""

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


@dataclass
class _Signals:
    """What the terminal has asked of the supervisor so far."""

    interrupts: int = 0
    terminated: bool = False
    hung_up: bool = False
    previous: dict[int, Any] = field(default_factory=dict)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.interrupts += 1

    def on_terminate(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.terminated = True

    def on_hang_up(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.hung_up = True


@contextlib.contextmanager
def _listening() -> Iterator[_Signals]:
    """Take Ctrl-C, SIGTERM and SIGHUP while a child runs; give them back afterwards."""
    heard = _Signals()
    handlers = {signal.SIGINT: heard.on_interrupt, signal.SIGTERM: heard.on_terminate}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = heard.on_hang_up
    for number, handler in handlers.items():
        heard.previous[int(number)] = signal.signal(number, handler)
    try:
        yield heard
    finally:
        for restored, handler in heard.previous.items():
            signal.signal(restored, handler)


def supervise(folder: Path, planned: Plan, on_event: OnEvent | None = None) -> int:
    """Run the child of a prepared folder to its end; return the exit code.

    The first Ctrl-C (or SIGTERM) asks the child to save and stop, the second Ctrl-C ends it now.
    A dropped terminal (SIGHUP) only stops the display: the run goes on.
    """
    events = _Events(folder, on_event)
    with _listening() as heard:
        process = _spawn(folder, planned)
        _record_start(folder, process)
        try:
            _wait(folder, process, heard, events)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            _end_family(process.pid)
    return _finish(folder, process.returncode, events)


@dataclass
class _Events:
    """Passes new events on, and keeps those that say how the run ended."""

    folder: Path
    on_event: OnEvent | None
    ending: Mapping[str, Any] | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        _, self.offset = run_folder.read_events(self.folder)

    def pass_on(self) -> None:
        found, self.offset = run_folder.read_events(self.folder, self.offset)
        for event in found:
            if event.get("event") in ("done", "failed", "stopped") and self.ending is None:
                self.ending = event
            if self.on_event is not None:
                self.on_event(event)

    def go_dark(self) -> None:
        """Stop writing to a terminal that is gone."""
        self.on_event = None
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)


def _spawn(folder: Path, planned: Plan) -> subprocess.Popen[bytes]:
    # What the user set by hand (OMP_NUM_THREADS on a shared host) stands.
    env = {**planned.env, **os.environ, "SWIFTBOX_SUPERVISOR": _myself()}
    with (folder / run_folder.LOG).open("ab") as log:
        return subprocess.Popen(
            planned.command_for(folder),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _myself() -> str:
    return f"{os.getpid()}:{run_folder.process_start(os.getpid())}"


def _record_start(folder: Path, process: subprocess.Popen[bytes]) -> None:
    run_folder.update_state(
        folder,
        status="running",
        pid=process.pid,
        pid_started=run_folder.process_start(process.pid),
        supervisor=os.getpid(),
        supervisor_started=run_folder.process_start(os.getpid()),
    )


def _wait(folder: Path, process: subprocess.Popen[bytes], heard: _Signals, events: _Events) -> None:
    asked = False
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_S)
        if heard.hung_up and events.on_event is not None:
            events.go_dark()
        events.pass_on()
        if process.returncode is not None:
            return
        if heard.interrupts > 1:
            _kill(process)
        elif (heard.interrupts or heard.terminated) and not asked:
            asked = True
            control.ask_to_stop(folder)
            if events.on_event is not None:
                events.on_event(_stopping())


def _stopping() -> Mapping[str, Any]:
    message = text(
        "saving and stopping; Ctrl-C again ends it without saving",
        "正在保存并停止；再按一次 Ctrl-C 立即结束（不保存）",
    )
    return {"time": time.time(), "event": "warning", "message": message}


def _kill(process: subprocess.Popen[bytes]) -> None:
    _end_family(process.pid)
    process.kill()
    process.wait()


def _end_family(pid: int) -> None:
    """End what is left of a child's process group and of its descendants."""
    import psutil

    left: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        left = psutil.Process(pid).children(recursive=True)
    for one in left:
        with contextlib.suppress(psutil.Error):
            one.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _finish(folder: Path, returned: int, events: _Events) -> int:
    """Record how the run ended, in words when the child could not, and choose the exit code."""
    ending = dict(events.ending or {})
    kind = ending.get("event")
    if kind is None and returned != DONE:
        kind = "stopped" if control.stop_asked(folder) else "failed"
        ending = _last_words(folder, returned) if kind == "failed" else {"step": None}
        with contextlib.suppress(OSError):
            run_folder.append_event(folder, kind, **ending)
        events.pass_on()
    status = kind or "done"
    code = {"done": DONE, "failed": FAILED, "stopped": INTERRUPTED}[status]
    if ending.get("kind") == "refused":
        code = WRONG
    with contextlib.suppress(OSError):
        run_folder.update_state(folder, status=status, ended=time.time(), exit_code=code)
    return code


def _last_words(folder: Path, returned: int) -> dict[str, Any]:
    log = (folder / run_folder.LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    tail = "\n".join(log[-LAST_WORDS:])
    if returned < 0:
        kind, message, hint = killed(-returned)
    else:
        kind, hint = "crash", ""
        message = text(
            f"the process ended with code {returned} before it could say why",
            f"进程以代码 {returned} 退出，未能说明原因",
        )
    return {"kind": kind, "message": message, "hint": hint, "traceback": tail}


def main() -> int:
    """Supervise a prepared folder in a process of its own: what `--detach` leaves behind."""
    from swiftbox.devices.machine import Machine
    from swiftbox.tasks.load import load

    folder = Path(sys.argv[1])
    machine = Machine.from_dict(run_folder.read_json(folder / run_folder.MACHINE))
    return supervise(folder, plan(load(folder / run_folder.SETTLED).config, machine))


if __name__ == "__main__":
    sys.exit(main())
