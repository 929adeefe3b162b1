"""Supervise the child of a run: pass on events, handle signals, and leave no process behind.

A supervisor holds the lock of the run folder while its child lives. It writes the state file:
`running` with both process ids at the start, then how the run ended. The child writes the events;
if it dies without reporting its end, the supervisor writes that event from the exit code and the
log. Stop requests reach the supervisor as signals or as the stop of an outer run, and the child as
a file in the folder. Whatever happens, the child and all of its descendants are killed at the end.
"""

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

from swiftbox.devices.backends import SELECTION_VARIABLES
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import discard_unfinished
from swiftbox.runs.diagnosis import CRASH, hint_for_exit, killed
from swiftbox.runs.endings import DONE, INTERRUPTED, status_and_code
from swiftbox.runs.plain_files import last_lines, open_plain
from swiftbox.runs.stop import clear_stop_request, request_stop, stop_requested
from swiftbox.security.children import child_environment

OnEvent = Callable[[Mapping[str, Any]], None]

POLL_S = 0.1
LOG_TAIL_LINES = 40
"""Lines of the log that are searched for a traceback after a death without a recorded error."""

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
"""A launcher of a cluster may leave them in the shell; they would make a single process wait for
others."""

SCAN_INTERVAL_S = 2.0
"""The interval between two listings of the child's descendants."""

TAIL_WITHOUT_TRACEBACK = 5
"""Lines of a log that are shown if it has no traceback."""


STOPPED_UNSAVED = (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT)
"""How a child ends that was stopped before it could record that: it handles both signals soon after
its start."""


@dataclass(frozen=True)
class Child:
    """The child process of a run: its command, the variables it adds, the secrets it needs."""

    command: Sequence[str]
    env: Mapping[str, str]
    secrets: frozenset[str] = frozenset()
    """Names of the variables whose secrets it gets; it gets no others."""


@dataclass
class StopRequests:
    """The requests to stop that the supervisor has received."""

    count: int = 0
    """The first asks the child to save and stop; the second kills it at once."""
    hung_up: bool = False
    """Whether the terminal is gone."""

    def update(self) -> None:
        """Count the requests that arrived since the last call."""


@dataclass
class OuterRunRequests(StopRequests):
    """Inside another run: a stop of that run stops this one."""

    stop: threading.Event = field(default_factory=threading.Event)

    def update(self) -> None:
        """Count a stop of the outer run as one request."""
        self.count = max(self.count, int(self.stop.is_set()))


@dataclass
class SignalRequests(StopRequests):
    """At a terminal: Ctrl-C, SIGTERM and SIGHUP."""

    previous: dict[int, Any] = field(default_factory=dict)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Count Ctrl-C or SIGTERM."""
        self.count += 1

    def on_hang_up(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note that the terminal is gone."""
        self.hung_up = True


@contextlib.contextmanager
def _signal_handlers() -> Iterator[SignalRequests]:
    """Handle Ctrl-C, SIGTERM and SIGHUP while a child runs; restore the handlers afterwards."""
    requests = SignalRequests()
    handlers = {signal.SIGINT: requests.on_interrupt, signal.SIGTERM: requests.on_interrupt}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = requests.on_hang_up
    for number, handler in handlers.items():
        requests.previous[int(number)] = signal.signal(number, handler)
    try:
        yield requests
    finally:
        for restored, handler in requests.previous.items():
            signal.signal(restored, handler)


def supervise(folder: Path, child: Child, on_event: OnEvent | None = None) -> int:
    """Run the child of a recorded run to its end; return the exit code.

    The first Ctrl-C (or SIGTERM) asks the child to save and stop, the second kills it. A dropped
    terminal (SIGHUP) stops the display only: the run continues.
    """
    with _signal_handlers() as requests:
        return _supervise(folder, child, requests, on_event)


def supervise_inside(
    folder: Path, child: Child, stop: threading.Event, on_event: OnEvent | None = None
) -> int:
    """Run the child of a recorded run inside another run, in any thread; return its exit code.

    Setting `stop` asks the child to save and stop. It ends with the calling process.
    """
    return _supervise(folder, child, OuterRunRequests(stop=stop), on_event)


def _supervise(folder: Path, child: Child, requests: StopRequests, on_event: OnEvent | None) -> int:
    relay = EventRelay(folder, on_event)
    with run_folder.run_lock(folder):
        discard_unfinished(folder)
        process = _spawn(folder, child)
        tree = ProcessTree(process.pid)
        try:
            _record_start(folder, process)
            _wait(process, requests, relay, tree)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            tree.kill()
            discard_unfinished(folder)
    return _finish(folder, process.returncode, relay)


@dataclass
class EventRelay:
    """Passes new events to the display, and remembers the one that ended the run."""

    folder: Path
    on_event: OnEvent | None
    ending: Mapping[str, Any] | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        self.offset = run_folder.end_of_events(self.folder)

    def pass_on(self) -> None:
        """Pass on the events that were written since the last call."""
        unread, self.offset = run_folder.read_events(self.folder, self.offset)
        for event in unread:
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
            self.detach_terminal()

    def detach_terminal(self) -> None:
        """Redirect the standard streams away from a terminal that is gone."""
        self.on_event = None
        devnull = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(devnull, descriptor)


def _spawn(folder: Path, child: Child) -> subprocess.Popen[bytes]:
    # Variables that the user set, such as OMP_NUM_THREADS on a shared host, take precedence. The
    # selected devices are among those that the user's variable leaves.
    selection = {name: child.env[name] for name in SELECTION_VARIABLES & child.env.keys()}
    env = {**child.env, **child_environment(keep=child.secrets), **selection}
    env["SWIFTBOX_SUPERVISOR"] = _myself()
    for name in LAUNCHER_VARIABLES:
        env.pop(name, None)
    with open_plain(folder / run_folder.LOG, "ab") as log:
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
    process: subprocess.Popen[bytes],
    requests: StopRequests,
    relay: EventRelay,
    tree: ProcessTree,
) -> None:
    """Wait for the child to exit; pass on its events, and stop it on request."""
    stopping = False
    while True:
        tree.scan()
        requests.update()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_S)
        if requests.hung_up and relay.on_event is not None:
            relay.detach_terminal()
        relay.pass_on()
        if process.returncode is not None:
            return
        if requests.count > 1:
            tree.scan(force=True)
            process.kill()
            process.wait()
        elif requests.count and not stopping:
            stopping = True
            request_stop(relay.folder)
            relay.show(_stopping_warning())


def _stopping_warning() -> Mapping[str, Any]:
    message = text(
        "saving and stopping; Ctrl-C again stops without saving",
        "正在保存并停止；再按一次 Ctrl-C 立即结束（不保存）",
    )
    return {"time": time.time(), "event": events.WARNING, "message": message}


class ProcessTree:
    """The child's descendants, some of which (torchrun's workers) leave its process group.

    They are listed while the child lives: afterwards nothing tells whose children they were.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.known: dict[int, float] = {}
        self.scanned_at = 0.0

    def scan(self, *, force: bool = False) -> None:
        """List the descendants; at most once per SCAN_INTERVAL_S unless forced."""
        import psutil

        if not force and time.monotonic() - self.scanned_at < SCAN_INTERVAL_S:
            return
        self.scanned_at = time.monotonic()
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.pid).children(recursive=True):
                self.known[process.pid] = process.create_time()

    def kill(self) -> None:
        """Kill the descendants that are alive, and the child's process group."""
        for pid, started in self.known.items():
            if run_folder.is_alive(pid, started):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _finish(folder: Path, returned: int, relay: EventRelay) -> int:
    """Record how the run ended, for a child that could not, and return the exit code."""
    ending = dict(relay.ending or {})
    kind = ending.get("event")
    if kind is None and returned != DONE:
        stopped = stop_requested(folder) or returned in STOPPED_UNSAVED
        kind = events.STOPPED if stopped else events.FAILED
        ending = {"step": None} if stopped else _unreported_failure(folder, returned)
        with contextlib.suppress(OSError):
            run_folder.append_event(folder, kind, **ending)
        relay.pass_on()
        ending["event"] = kind
    status, code = status_and_code(ending)
    with contextlib.suppress(OSError):
        run_folder.update_state(folder, status=status, ended=time.time(), exit_code=code)
        clear_stop_request(folder)
    return code


def _unreported_failure(folder: Path, returned: int) -> dict[str, Any]:
    """Describe the failure of a child that did not report one, from its exit code and log."""
    tail = "\n".join(last_traceback(last_lines(folder / run_folder.LOG, LOG_TAIL_LINES)))
    if returned < 0:
        kind, message, hint = killed(-returned)
    else:
        kind, hint = CRASH, hint_for_exit(returned)
        message = text(
            f"the process exited with code {returned} without reporting an error",
            f"进程以代码 {returned} 退出，未报告错误",
        )
    return {"kind": kind, "message": message, "hint": hint, "traceback": tail}


def last_traceback(lines: list[str]) -> list[str]:
    """Return the lines from the last traceback on; the last few lines if there is none."""
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    return lines[starts[-1] :] if starts else lines[-TAIL_WITHOUT_TRACEBACK:]
