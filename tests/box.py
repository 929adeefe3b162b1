"""Run swiftbox as a user does, in a child, and read what its run folder says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "swiftbox"]
HANG_S = 600
"""A step that takes longer hangs, on the busiest machine; no test measures time by it."""

LONGEST_RUN_S = 1800
"""The same for a whole run."""


def box(*arguments: str, cwd: Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end; check its exit code unless None."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_RUN_S,
        env=dict(os.environ),
    )
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done


@contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a verb, and end it with its run whatever happens."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=HANG_S)


def until(condition: Callable[[], Any], *, what: str, timeout_s: float = HANG_S) -> Any:
    """Poll until a condition holds; return its value."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if outcome := condition():
            return outcome
        time.sleep(0.005)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def events(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Return the events of a run, all or of one kind."""
    path = folder / "events.jsonl"
    if not path.is_file():
        return []
    content = path.read_text(encoding="utf-8")
    lines = content[: content.rfind("\n") + 1].splitlines()
    recorded = [json.loads(line) for line in lines]
    check_fields(folder, recorded)
    return [event for event in recorded if kind is None or event["event"] == kind]


def check_fields(folder: Path, recorded: list[dict[str, Any]]) -> None:
    """Check that every event of a run has exactly the fields that are declared for it."""
    from swiftbox.runs.event_fields import mistakes
    from swiftbox.runs.folder import task_of

    task, step_tasks = task_of(folder), {}
    for event in recorded:
        if event["event"] == "part":
            step_tasks[event["name"]] = event["task"]
        assert not mistakes(event, task), event
        if event["event"] == "inner":
            assert not mistakes(event["inner"], step_tasks[event["of"]]), event


def last_step(folder: Path) -> int:
    """Return the last step that a run has recorded."""
    steps = events(folder, "step")
    return steps[-1]["step"] if steps else 0


def losses(folder: Path) -> dict[int, float]:
    """Return the loss of each step; the later one for a repeated step."""
    return {event["step"]: event["loss"] for event in events(folder, "step")}


def state(folder: Path) -> dict[str, Any]:
    """Return the state of a run."""
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    from swiftbox.runs.folder import process_start

    return process_start(pid) is None
