"""Run a tool for unfinished jobs, and watch the server that answers it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from swiftbox.engines.tool_runner import ToolRun, ToolStopped, run_tool
from swiftbox.errors import ChildError, RunError
from swiftbox.evaluation.intervals import score
from swiftbox.evaluation.jobs import Job
from swiftbox.evaluation.workload import AnswerRate, question_count
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

POLL_S = 0.05

JOB_DONE = "answered"
"""The line of a tool that has written the result of a job; recorded as events.SCORED."""

DETECTION_TIMEOUT_S = 2.0
"""How long a tool that lost its server waits for the server's end to be detected."""


class AnsweringServer(Protocol):
    """What answers: a server beside the run, or an endpoint."""

    @property
    def is_alive(self) -> bool:
        """Tell whether it still answers."""

    def failure(self) -> RunError:
        """Return why it ended, with its last lines."""


@dataclass(frozen=True)
class ToolCall:
    """A tool, its request, and variables that only its environment may hold."""

    tool: str
    """Also the name of its engine."""
    request: Mapping[str, Any]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    """Names of inherited variables whose secrets the tool gets too."""


def run_jobs(
    call: ToolCall,
    jobs: Sequence[Job],
    emit: Emit,
    *,
    server: AnsweringServer | None,
    stop: threading.Event,
) -> bool:
    """Run the jobs; return False if a stop was requested meanwhile.

    Raises RunError within seconds, with the server's last lines, if the server ends first.
    """
    on_event = _NamedEvents(jobs, emit, call.request.get("limit"))
    call.folder.mkdir(parents=True, exist_ok=True)
    with _stop_or_server_end(server, stop) as ended:
        try:
            run = ToolRun(call.tool, call.tool, call.folder, call.env, call.secrets)
            run_tool(run, call.request, on_event, ended)
        except ToolStopped:
            if stop.is_set():
                return False
            raise _server_lost(server, jobs) from None
        except RunError:
            if server is not None and _has_ended(server):
                raise _server_lost(server, jobs) from None
            raise
    unfinished = _names(jobs)
    if unfinished:
        raise RunError(
            text(
                f"{call.tool} gave no score for {unfinished}",
                f"{call.tool} 没有给出 {unfinished} 的得分",
            ),
            hint=text("see log.txt of the run", "见运行的 log.txt"),
        )
    return True


@contextlib.contextmanager
def _stop_or_server_end(
    server: AnsweringServer | None, stop: threading.Event
) -> Iterator[threading.Event]:
    """Yield an event that is set when a stop is requested or the server has ended."""
    ended, finished = threading.Event(), threading.Event()

    def watch() -> None:
        while not finished.wait(POLL_S):
            if stop.is_set() or (server is not None and not server.is_alive):
                ended.set()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        finished.set()
        thread.join()


def _has_ended(server: AnsweringServer) -> bool:
    waiting = threading.Event()
    for _ in range(round(DETECTION_TIMEOUT_S / POLL_S)):
        if not server.is_alive:
            return True
        waiting.wait(POLL_S)
    return False


def _server_lost(server: AnsweringServer | None, jobs: Sequence[Job]) -> RunError:
    failure = server.failure().message if server is not None else "?"
    unfinished = _names(jobs)
    return ChildError(
        text(
            f"the server ended during the evaluation of {unfinished}\n{failure}",
            f"服务在评测途中结束（{unfinished}）\n{failure}",
        ),
        hint=text(
            "answers so far are kept: continue with `swiftbox runs resume`",
            "已有的回答已保留：`swiftbox runs resume` 可继续",
        ),
    )


def _names(jobs: Sequence[Job]) -> str:
    """List the jobs that have no result."""
    return ", ".join(
        f"{job.candidate.name}/{job.benchmark.name}" for job in jobs if not job.is_done
    )


class _NamedEvents:
    """Turns a tool's events, which number the jobs, into the run's, which name them."""

    def __init__(self, jobs: Sequence[Job], emit: Emit, limit: int | None) -> None:
        self.jobs, self.emit = jobs, emit
        self.totals = {
            name: question_count(benchmark, limit)
            for name, benchmark in {job.benchmark.name: job.benchmark for job in jobs}.items()
        }
        self.rates: dict[int, AnswerRate] = {}

    def __call__(self, event: str, **fields: Any) -> None:
        if "job" not in fields:
            self.emit(event, **fields)
            return
        number = fields.pop("job")
        job = self.jobs[number]
        total = self.totals[job.benchmark.name]
        names = {"candidate": job.candidate.name, "benchmark": job.benchmark.name}
        if event == JOB_DONE:
            self.emit(events.SCORED, **names, **score_summary(job.read_result()))
        elif event == events.ANSWERS:
            rate = self.rates.setdefault(number, AnswerRate())
            rate.add(time.monotonic(), fields["count"])
            speed = {"per_s": rate.per_s(), "eta_s": rate.eta_s(total)}
            self.emit(event, **names, total=total, **speed, **fields)
        else:
            self.emit(event, **names, total=total, **fields)


def score_summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score of a result, its interval and its count."""
    values = [float(sample["score"]) for sample in result["samples"]]
    interval = {key: round(value, 6) for key, value in vars(score(values)).items()}
    return {**interval, "count": len(values), "seconds": result.get("seconds")}
