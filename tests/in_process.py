"""Run swiftbox in this process: as box.py does, without the seconds that each child imports torch.

The command line, the plan, the record, the supervisor and the task are those of a user. Only the
process border is missing: no signal, kill, exit code or log of a real child is tested here, and no
request to stop reaches the task. Tests of those use box.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from swiftbox import worker
from swiftbox.cli.main import main
from swiftbox.runs import folder as run_folder
from swiftbox.runs import supervise
from swiftbox.runs.stop import STOP


def box(
    *arguments: str,
    cwd: Path,
    code: int | None = 0,
    stdin: str = "",
    steps_in_children: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end; check its exit code unless None.

    A server inside a run serves until it is stopped, which needs `steps_in_children`.
    """
    streams = {name: io.TextIOWrapper(io.BytesIO(), "utf-8") for name in ("stdout", "stderr")}
    with (
        contextlib.chdir(cwd),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        mock.patch.multiple("sys", **streams),
        workers_here(steps_in_children=steps_in_children),
    ):
        try:
            ended = main(arguments)
        except SystemExit as stopped:
            ended = int(stopped.code or 0)
    out, err = (stream.buffer.getvalue().decode("utf-8") for stream in streams.values())
    if code is not None:
        assert ended == code, out + err
    return subprocess.CompletedProcess(arguments, ended, out, err)


@contextlib.contextmanager
def workers_here(*, steps_in_children: bool = False) -> Iterator[None]:
    """Run the worker of every run that is started meanwhile in this process.

    With `steps_in_children`, the runs inside such a run are children of this process as usual.
    """
    steps = {"_spawn": supervise._spawn, "ProcessTree": supervise.ProcessTree}

    def spawn(folder: Path, child: supervise.Child) -> EndedWorker:
        if not steps_in_children:
            return run_here(folder, child)
        with mock.patch.multiple(supervise, **steps):
            return run_here(folder, child)

    with (
        mock.patch.object(supervise, "_spawn", spawn),
        mock.patch.object(supervise, "ProcessTree", NoProcesses),
        # What is hidden stays hidden from the libraries, and later tests use it.
        mock.patch.object(worker, "hide_packages"),
    ):
        yield


class NoProcesses(supervise.ProcessTree):
    """The descendants of a worker that is this process."""

    def scan(self, *, force: bool = False) -> None:
        """List nothing."""

    def kill(self) -> None:
        """Leave this process alone."""


class EndedWorker:
    """A worker that ran to its end, as the supervisor sees a process."""

    pid = os.getpid()

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        """Return the exit code."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - Popen's signature
        """Return the exit code."""
        return self.returncode


def run_here(folder: Path, child: supervise.Child) -> EndedWorker:
    """Run the task of a run folder, with the variables and the log of its child."""
    with (
        fresh_stop(),
        (folder / run_folder.LOG).open("a", encoding="utf-8") as log,
        mock.patch.multiple("sys", stdout=log, stderr=log),
        mock.patch.dict(os.environ, {**child.env, **os.environ}),
    ):
        return EndedWorker(worker.run_task(folder))


@contextlib.contextmanager
def fresh_stop() -> Iterator[None]:
    """Clear the stop events, which a process has once; restore those of an outer run."""
    flags = [(event, event.is_set()) for event in (STOP.requested, STOP.can_save)]
    for event, _ in flags:
        event.clear()
    try:
        yield
    finally:
        for event, was_set in flags:
            (event.set if was_set else event.clear)()
