"""Have a tool ask what is still to be asked, while the server that answers is watched over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from swiftbox.engines.tool_runner import ToolRun, ToolStopped, run_tool
from swiftbox.errors import DataError, RunError
from swiftbox.evaluation import local_data
from swiftbox.evaluation.benchmarks import Asked
from swiftbox.evaluation.intervals import score
from swiftbox.evaluation.results import Job
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

LOOK_AGAIN_S = 0.05

NOTICED_WITHIN_S = 2.0
"""For the end of a server to be noticed after a tool that lost it."""


class Server(Protocol):
    """What answers: one of our own beside the run, or an endpoint."""

    @property
    def is_alive(self) -> bool:
        """Tell whether it still answers."""

    def failure(self) -> RunError:
        """Return what ended it, in its own last words."""


@dataclass(frozen=True)
class Call:
    """A tool, what it is asked, and what only its environment may hold."""

    tool: str
    """Of the engine that has the same name."""
    request: Mapping[str, Any]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


def ask(
    call: Call, jobs: Sequence[Job], emit: Emit, *, server: Server | None, stop: threading.Event
) -> bool:
    """Have the jobs done; return False when a stop was asked for meanwhile.

    Raises RunError in seconds, with the server's last words, when the server ends first.
    """
    hear = _Hearing(jobs, emit, call.request.get("limit"))
    call.folder.mkdir(parents=True, exist_ok=True)
    with _either(server, stop) as ended:
        try:
            run_tool(
                ToolRun(call.tool, call.tool, call.folder, call.env), call.request, hear, ended
            )
        except ToolStopped:
            if stop.is_set():
                return False
            raise _lost(server, jobs) from None
        except RunError:
            if server is not None and _gone(server):
                raise _lost(server, jobs) from None
            raise
    lacking = [one for one in jobs if not one.is_done]
    if lacking:
        named = ", ".join(f"{one.candidate.name}/{one.asked.name}" for one in lacking)
        raise RunError(
            text(f"{call.tool} gave no score of {named}", f"{call.tool} 没有给出 {named} 的得分"),
            hint=text("see log.txt of the run", "见运行的 log.txt"),
        )
    return True


@contextlib.contextmanager
def _either(server: Server | None, stop: threading.Event) -> Iterator[threading.Event]:
    """Return an event that is set when a stop is asked for, or when the server has ended."""
    ended, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_AGAIN_S):
            if stop.is_set() or (server is not None and not server.is_alive):
                ended.set()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        done.set()
        thread.join()


def _gone(server: Server) -> bool:
    waiting = threading.Event()
    for _ in range(round(NOTICED_WITHIN_S / LOOK_AGAIN_S)):
        if not server.is_alive:
            return True
        waiting.wait(LOOK_AGAIN_S)
    return False


def _lost(server: Server | None, jobs: Sequence[Job]) -> RunError:
    said = server.failure().message if server is not None else "?"
    left = ", ".join(f"{one.candidate.name}/{one.asked.name}" for one in jobs if not one.is_done)
    return RunError(
        text(
            f"the server ended while it was asked ({left})\n{said}",
            f"服务在评测途中结束（{left}）\n{said}",
        ),
        hint=text(
            "what was answered is kept: `swiftbox runs resume` goes on",
            "已有的回答已保留：`swiftbox runs resume` 可继续",
        ),
    )


class _Hearing:
    """Turns a tool's events, which count jobs, into the run's, which name them."""

    def __init__(self, jobs: Sequence[Job], emit: Emit, limit: int | None) -> None:
        self.jobs, self.emit, self.limit = jobs, emit, limit

    def __call__(self, event: str, **said: Any) -> None:
        if "job" not in said:
            self.emit(event, **said)
            return
        job = self.jobs[said.pop("job")]
        named = {"candidate": job.candidate.name, "benchmark": job.asked.name}
        if event == events.ANSWERED:
            self.emit(events.SCORED, **named, **scored(job.found()))
        else:
            self.emit(event, **named, total=count_of(job.asked, self.limit), **said)


def scored(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said at once of a result."""
    values = [float(one["score"]) for one in found["samples"]]
    interval = {key: round(value, 6) for key, value in vars(score(values)).items()}
    return {**interval, "count": len(values), "seconds": found.get("seconds")}


def count_of(asked: Asked, limit: int | None) -> int | None:
    """Return how many questions a benchmark has; None where it cannot be told."""
    if asked.folder is None:
        return asked.row.samples if limit is None else None
    try:
        return len(local_data.questions(asked.folder, limit))
    except DataError:
        return None
