"""Watch over the child of a run: signals, liveness, its last words; leave no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs import stop as control
from swiftbox.runs.diagnosis import killed

OnEvent = Callable[[Mapping[str, Any]], None]

POLL_S = 0.1
LAST_WORDS = 40
"""Lines of the log that go into the report of a death without a recorded error."""

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
"""Left in the shell by a cluster's launcher, they would make one process think it is of many."""

LOOK_S = 2.0
"""Seconds between looks at the child's descendants."""

FEW = 5
"""Lines of a log without a traceback that are worth repeating."""

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Child:
    """What carries a run out: its command and what it adds to the environment."""

    command: Sequence[str]
    env: Mapping[str, str]


@dataclass
class _Heard:
    """What was asked of the supervisor so far."""

    asked: int = 0
    """Times that a stop was asked for: the first asks, the second ends the run at once."""
    hung_up: bool = False

    def look(self) -> None:
        """Notice what was asked since."""


@dataclass
class _Inside(_Heard):
    """Inside another run: that run's own stop is this one's."""

    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        self.asked = max(self.asked, int(self.stop.is_set()))


@dataclass
class _Signals(_Heard):
    """At a terminal: Ctrl-C, SIGTERM and SIGHUP."""

    previous: dict[int, Any] = field(default_factory=dict)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked += 1

    def on_hang_up(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.hung_up = True


@contextlib.contextmanager
def _listening() -> Iterator[_Signals]:
    """Take Ctrl-C, SIGTERM and SIGHUP while a child runs; give them back afterwards."""
    heard = _Signals()
    handlers = {signal.SIGINT: heard.on_interrupt, signal.SIGTERM: heard.on_interrupt}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = heard.on_hang_up
    for number, handler in handlers.items():
        heard.previous[int(number)] = signal.signal(number, handler)
    try:
        yield heard
    finally:
        for restored, handler in heard.previous.items():
            signal.signal(restored, handler)


def supervise(folder: Path, child: Child, on_event: OnEvent | None = None) -> int:
    """Run the child of a prepared folder to its end; return the exit code.

    The first Ctrl-C (or SIGTERM) asks the child to save and stop, the second Ctrl-C ends it now.
    A dropped terminal (SIGHUP) only stops the display: the run goes on.
    """
    with _listening() as heard:
        return _watched(folder, child, heard, on_event)


def supervise_inside(
    folder: Path, child: Child, stop: threading.Event, on_event: OnEvent | None = None
) -> int:
    """Run the child of a prepared folder inside another run, in any thread; return its exit code.

    Setting `stop` asks it to save and stop; it ends with the process that called this.
    """
    return _watched(folder, child, _Inside(stop=stop), on_event)


def _watched(folder: Path, child: Child, heard: _Heard, on_event: OnEvent | None) -> int:
    events = _Events(folder, on_event)
    with run_folder.run_lock(folder):
        process = _spawn(folder, child)
        family = _Family(process.pid)
        try:
            _record_start(folder, process)
            _wait(folder, process, heard, events, family)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            family.end()
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
            if self.ending is None and event.get("event") in events.ENDING:
                self.ending = event
            self.show(event)

    def show(self, event: Mapping[str, Any]) -> None:
        """Show an event; a terminal or pipe that is gone ends the display, not the run."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except OSError:
            self.go_dark()

    def go_dark(self) -> None:
        """Stop writing to a terminal that is gone."""
        self.on_event = None
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)


def _spawn(folder: Path, child: Child) -> subprocess.Popen[bytes]:
    # What the user set by hand (OMP_NUM_THREADS on a shared host) stands.
    env = {**child.env, **os.environ, "SWIFTBOX_SUPERVISOR": _myself()}
    for name in LAUNCHER_VARIABLES:
        env.pop(name, None)
    with (folder / run_folder.LOG).open("ab") as log:
        return subprocess.Popen(
            child.command,
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
        **run_folder.supervised_by_me(),
    )


def _wait(
    folder: Path,
    process: subprocess.Popen[bytes],
    heard: _Heard,
    events: _Events,
    family: _Family,
) -> None:
    asked = False
    while True:
        family.look()
        heard.look()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_S)
        if heard.hung_up and events.on_event is not None:
            events.go_dark()
        events.pass_on()
        if process.returncode is not None:
            return
        if heard.asked > 1:
            family.look(now=True)
            process.kill()
            process.wait()
        elif heard.asked and not asked:
            asked = True
            control.request_stop(folder)
            events.show(_stopping())


def _stopping() -> Mapping[str, Any]:
    message = text(
        "saving and stopping; Ctrl-C again ends it without saving",
        "正在保存并停止；再按一次 Ctrl-C 立即结束（不保存）",
    )
    return {"time": time.time(), "event": events.WARNING, "message": message}


class _Family:
    """The child's descendants: torchrun's workers have sessions of their own, beyond a group.

    Looked at while the child lives: once it is gone nothing tells whose children they were.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.known: dict[int, float] = {}
        self.looked = 0.0

    def look(self, *, now: bool = False) -> None:
        """Note who belongs to the child."""
        import psutil

        if not now and time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        with contextlib.suppress(psutil.Error):
            for one in psutil.Process(self.pid).children(recursive=True):
                self.known[one.pid] = one.create_time()

    def end(self) -> None:
        """End all that is left of the family, and of the child's process group."""
        for pid, started in self.known.items():
            if run_folder.is_alive(pid, started):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _finish(folder: Path, returned: int, events: _Events) -> int:
    """Record how the run ended, in words when the child could not, and choose the exit code."""
    ending = dict(events.ending or {})
    kind = ending.get("event")
    if kind is None and returned != DONE:
        kind = "stopped" if control.stop_requested(folder) else "failed"
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
    tail = "\n".join(last_traceback(log[-LAST_WORDS:]))
    if returned < 0:
        kind, message, hint = killed(-returned)
    else:
        kind, hint = "crash", ""
        message = text(
            f"the process ended with code {returned} before it could say why",
            f"进程以代码 {returned} 退出，未能说明原因",
        )
    return {"kind": kind, "message": message, "hint": hint, "traceback": tail}


def last_traceback(lines: list[str]) -> list[str]:
    """Return what follows the last traceback's beginning; a few lines where there is none."""
    begins = [at for at, line in enumerate(lines) if line.startswith("Traceback")]
    return lines[begins[-1] :] if begins else lines[-FEW:]
