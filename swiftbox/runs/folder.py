"""The run folder, the record of a run: its files, state, events, and the list of all runs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import RunError
from swiftbox.files import LockedError, file_lock, is_temporary_of, sweep, write_json
from swiftbox.language import home, text
from swiftbox.runs import events
from swiftbox.runs.event_lines import finite_numbers, newest_lines
from swiftbox.runs.plain_files import (
    not_plain,
    open_plain,
    read_plain,
    read_record,
)
from swiftbox.security.origin import is_signed_json, is_signed_yaml, signed_json
from swiftbox.security.private import make_private

ASKED, SETTLED = "asked.yaml", "settled.yaml"
MACHINE, VERSIONS = "machine.json", "versions.json"
EVENTS, LOG, STATE = "events.jsonl", "log.txt", "state.json"
CHECKPOINTS, MODEL = "checkpoints", "model"
INPUTS, LOCK = "inputs.json", ".lock"
PIPELINE = "pipeline.json"
"""The steps of a pipeline with the status and the outputs of each."""
STEPS, EARLIER = "steps", "earlier"
"""Folders of a pipeline: one for its steps, and in it one for replaced results."""
READ_BYTES = 16 * 2**20
"""Read from the events at once; the longest event, a report, has a few megabytes."""
SPLIT = "micro_batch.json"
"""The size of a micro-batch that fits, if the memory ran out with that of the settings."""
ESTIMATE = "estimate.json"
"""The estimated memory, which the run is compared with."""
EXTENSION = "extension.json"
"""Of a run that extends another: its name, and the update of the checkpoint it began with."""
REASONS = "reasons.json"
"""Why each setting has its value, by its key, from the plan that first settled it."""
PARTIAL = ".partial"
"""Inside checkpoints/: the checkpoint that is being written."""
WORK = "work"
"""The results of a quantization's steps; hidden names are unfinished."""
COMPLETE = "complete.json"
"""Inside a checkpoint: written last, so its presence means that all other files are complete."""

ACTIVE = ("starting", "running")
STATUSES = (*ACTIVE, "done", "partial", "failed", "stopped")

MAX_PID = 2**31 - 1
"""The largest process id of any system; psutil refuses larger numbers."""

LATEST_TIME = 4_102_444_800.0
"""The start of the year 2100: a later time in a record is not one of ours."""


@dataclass(frozen=True)
class Run:
    """One run, as its folder describes it."""

    folder: Path
    state: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the folder's name, by which users refer to the run."""
        return self.folder.name

    @property
    def status(self) -> str:
        """Return starting, running, done, partial, failed, stopped, or lost (process is gone)."""
        status = self.state.get("status")
        if status not in STATUSES:
            return "lost"
        if status not in ACTIVE:
            return str(status)
        child = is_alive(self.state.get("pid"), self.state.get("pid_started"))
        supervisor = is_alive(self.state.get("supervisor"), self.state.get("supervisor_started"))
        return str(status) if child or supervisor else "lost"

    @property
    def is_active(self) -> bool:
        """Tell whether a process is working on the run."""
        return self.status in ACTIVE

    @property
    def started(self) -> float | None:
        """Return when the run started (unix seconds); None if its record does not say so."""
        started: Any = self.state.get("started")
        if not is_number(started) or not 0 <= started <= LATEST_TIME:
            return None
        return float(started)

    @property
    def url(self) -> str | None:
        """Return the address that the run serves; None unless this user's own run serves now.

        Requests and keys go to it, so an address in a stranger's folder does not count.
        """
        url = self.state.get("url")
        is_ours = isinstance(url, str) and self.is_active and is_signed_json(STATE, self.state)
        return str(url) if is_ours else None


def update_state(folder: Path, **changes: Any) -> None:
    """Change fields of a run's state file, and sign it."""
    write_json(folder / STATE, signed_json(STATE, {**read_record(folder / STATE), **changes}))


def is_ours(folder: Path) -> bool:
    """Tell whether this user's swiftbox on this machine wrote what a resume relies on.

    That is the settled config and, for a pipeline, the record of its steps. A folder of another
    machine, of an earlier version, or with an edited config is not ours.
    """
    try:
        settled = read_plain(folder / SETTLED)
    except (OSError, RunError):
        return False
    steps = folder / PIPELINE
    is_pipeline = os.path.lexists(steps)
    return is_signed_yaml(SETTLED, settled) and (
        not is_pipeline or is_signed_json(PIPELINE, read_record(steps))
    )


def is_alive(pid: Any, started: Any) -> bool:
    """Tell whether a process is alive and started at that time; a reused id does not count.

    Without a start time nothing tells whose process it is: it does not count as alive.
    """
    if not is_number(pid) or not is_number(started) or not 0 < pid <= MAX_PID:
        return False
    actual = process_start(int(pid))
    return actual is not None and abs(actual - float(started)) < 2


def is_number(value: Any) -> bool:
    """Tell whether a value of a record is a number of usual size; true and false are not."""
    if isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def supervised_by_me() -> dict[str, Any]:
    """Return the state fields that name this process as the supervisor."""
    return {"supervisor": os.getpid(), "supervisor_started": process_start(os.getpid())}


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run folder for one supervisor; raise RunError if another process holds the lock.

    The kernel releases the lock when the process ends, however it ends.
    """
    if (folder / LOCK).is_symlink():
        raise not_plain([folder / LOCK])
    try:
        with file_lock(folder / LOCK, wait=False):
            yield
    except LockedError:
        raise RunError(
            text(f"{folder.name} is still running", f"{folder.name} 仍在运行"),
            hint=f"swiftbox runs logs {folder.name} -f",
        ) from None


def process_start(pid: int) -> float | None:
    """Return the start time of a process (unix seconds); None if it is gone or a zombie."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


def task_of(folder: Path) -> str:
    """Return the task of the run in a folder; empty if its settled.yaml cannot be read."""
    import yaml

    try:
        content = yaml.safe_load(read_plain(folder / SETTLED))
    except (OSError, ValueError, RecursionError, RunError, yaml.YAMLError):
        return ""
    task = content.get("task") if isinstance(content, dict) else None
    return task if isinstance(task, str) else ""  # a list may be an exponential number of aliases


def append_event(folder: Path, event: str, **fields: Any) -> None:
    """Append an event; the one that ends a run gets its task.

    One write per line, so that lines of two writers never mix. A number that is not finite, such as
    the norm of a gradient in float16, is written as null.
    """
    if event in events.ENDING:
        fields = {"task": task_of(folder), **fields}
    content = {"time": round(time.time(), 3), "event": event, **finite_numbers(fields)}
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    path = folder / EVENTS
    separator = b"\n" if _ends_torn(path) else b""
    with open_plain(path, "ab") as file:
        file.write(separator + line.encode("utf-8", errors="replace") + b"\n")


def _ends_torn(path: Path) -> bool:
    """Tell whether the last line of a file was cut off, by a full disk or a power failure."""
    with contextlib.suppress(OSError), open_plain(path) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    return False


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return events after a byte offset, and the offset of the next one; empty at the end.

    At most READ_BYTES are read at once. A last line that is still being written is left for the
    next call; a torn line, one that is not an event, and one of more than READ_BYTES are skipped.
    """
    with contextlib.suppress(OSError, RunError), open_plain(folder / EVENTS) as file:
        file.seek(offset)
        while data := file.read(READ_BYTES):
            end = data.rfind(b"\n") + 1
            if not end and len(data) < READ_BYTES:
                break  # a line that is still being written
            offset += end or len(data)
            file.seek(offset)
            records = [record for line in data[:end].splitlines() if (record := event_of(line))]
            if records:
                return records, offset
    return [], offset


def every_event(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield all events of a run, oldest first."""
    records, offset = read_events(folder)
    while records:
        yield from records
        records, offset = read_events(folder, offset)


def newest_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, newest first; of a very long record only its last part."""
    with contextlib.suppress(OSError, RunError), open_plain(folder / EVENTS) as file:
        for line in newest_lines(file):
            if record := event_of(line):
                yield record


def newest_event(folder: Path, *names: str) -> dict[str, Any]:
    """Return the newest event with one of these names; empty if there is none."""
    return next((event for event in newest_events(folder) if event["event"] in names), {})


def end_of_events(folder: Path) -> int:
    """Return the offset behind the last complete event."""
    with contextlib.suppress(OSError, RunError), open_plain(folder / EVENTS) as file:
        size = file.seek(0, os.SEEK_END)
        unfinished = next(newest_lines(file), b"")
        return size - len(unfinished)
    return 0


def event_of(line: bytes) -> dict[str, Any] | None:
    """Return the event on a line; None for a torn line and for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(record, dict) and isinstance(record.get("event"), str)
    return record if is_event else None


def register(folder: Path) -> Path | None:
    """Link a run in the user's index, so that it is found from any directory; return the link."""
    index = home() / "runs"
    with contextlib.suppress(OSError):
        make_private(index)
        link = index / f"{folder.name}@{hash_text(str(folder.resolve())):08x}"
        if not link.is_symlink():
            link.symlink_to(folder.resolve())
        return link
    return None


def hash_text(value: str) -> int:
    """Return a stable 32-bit hash of a text."""
    import zlib

    return zlib.crc32(value.encode())


def runs() -> Iterator[Run]:
    """Yield all runs in the user's index, newest first; remove links to deleted folders."""
    known: dict[Path, Run] = {}
    for link in sorted((home() / "runs").glob("*")):
        folder = Path(os.path.realpath(link))
        if not (folder / STATE).is_file():
            if not folder.exists() and not _is_being_made(folder):
                link.unlink(missing_ok=True)
            continue
        sweep(folder)
        known[folder] = Run(folder, read_record(folder / STATE))
    yield from sorted(known.values(), key=lambda run: -(run.started or 0))


def _is_being_made(folder: Path) -> bool:
    """Tell whether a process fills this run folder aside; delete what a killed one left."""
    sweep(folder.parent, name=folder.name)
    with contextlib.suppress(OSError):
        return any(is_temporary_of(path.name, folder.name) for path in folder.parent.iterdir())
    return False


def find(name: str) -> Run:
    """Return the run with that folder or name (or unique prefix), or the newest for `last`."""
    folder = Path(name)
    if (folder / STATE).is_file():
        return Run(folder.resolve(), read_record(folder / STATE))
    known = list(runs())
    if name == "last" and known:
        return known[0]
    matching = [run for run in known if run.name == name]
    matching = matching or [run for run in known if run.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        listed = ", ".join(str(run.folder) for run in matching[:5])
        raise RunError(
            text(
                f"{name} matches {len(matching)} runs: {listed}", f"{name} 对应多个运行：{listed}"
            ),
            hint=text("give the folder instead", "请改为给出目录"),
        )
    raise RunError(
        text(f"no run named {name}", f"没有名为 {name} 的运行"),
        hint=text("`swiftbox runs list` shows them all", "`swiftbox runs list` 列出全部运行"),
    )


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    complete = [
        path
        for path in (folder / CHECKPOINTS).glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit() and (path / COMPLETE).is_file()
    ]
    return sorted(complete, key=step_of)


def run_name(folder: Path) -> str:
    """Return the name of the run in a folder; for a pipeline step, the name of the step."""
    is_step = folder.parent.name == STEPS and (folder.parent.parent / PIPELINE).is_file()
    return folder.name.partition("-")[2] if is_step else folder.name


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))
