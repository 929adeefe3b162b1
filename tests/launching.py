"""Launching a run in a test as the command line does: prepare, record, run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swiftbox.launch.prepare import Prepared, prepare, prepare_rerun, prepare_resume
from swiftbox.launch.record import record
from swiftbox.launch.run import run
from swiftbox.runs.supervise import OnEvent


def launch(prepared: Prepared, on_event: OnEvent | None = None) -> int:
    """Record and run what was prepared; return the exit code."""
    return run(record(prepared), on_event=on_event)


def start(path: Path, overrides: Iterable[str] = (), on_event: OnEvent | None = None) -> int:
    return launch(prepare(path, overrides), on_event)


def resume(folder: Path, overrides: Iterable[str] = (), on_event: OnEvent | None = None) -> int:
    return launch(prepare_resume(folder, overrides), on_event)


def rerun(folder: Path, overrides: Iterable[str] = (), on_event: OnEvent | None = None) -> int:
    return launch(prepare_rerun(folder, overrides), on_event)
