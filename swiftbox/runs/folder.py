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
from swiftbox.files import (
    LockedError,
    file_lock,
    is_temporary_of,
    read_json,
    sweep,
    write_json,
)
from swiftbox.language import home, text
from swiftbox.runs import events

ASKED, SETTLED = "asked.yaml", "settled.yaml"
MACHINE, VERSIONS = "machine.json", "versions.json"
EVENTS, LOG, STATE = "events.jsonl", "log.txt", "state.json"
CHECKPOINTS, MODEL = "checkpoints", "model"
INPUTS, LOCK = "inputs.json", ".lock"
PIPELINE = "pipeline.json"
"""The steps of a pipeline with the status and the outputs of each."""
REASONS = "reasons.json"
"""Why each setting has its value, by its key, from the plan that first settled it."""
PARTIAL = ".partial"
"""Inside checkpoints/: the checkpoint that is being written."""
WORK = "work"
"""The results of a quantization's steps; hidden names are unfinished."""
COMPLETE = "complete.json"
"""Inside a checkpoint: written last, so its presence means that all other files are complete."""

ACTIVE = ("starting", "running")


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
        """Return starting, running, done, failed, stopped, or lost (its process is gone)."""
        status = str(self.state.get("status", "lost"))
        if status not in ACTIVE:
            return status
        child = is_alive(self.state.get("pid"), self.state.get("pid_started"))
        supervisor = is_alive(self.state.get("supervisor"), self.state.get("supervisor_started"))
        return status if child or supervisor else "lost"

    @property
    def is_active(self) -> bool:
        """Tell whether a process is working on the run."""
        return self.status in ACTIVE


def update_state(folder: Path, **changes: Any) -> None:
    """Change fields of a run's state file."""
    write_json(folder / STATE, {**read_json(folder / STATE), **changes})


def is_alive(pid: Any, started: Any = None) -> bool:
    """Tell whether a process is alive and started at that time; a reused id does not count."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    actual = process_start(pid)
    if actual is None:
        return False
    return started is None or abs(actual - float(started)) < 2


def supervised_by_me() -> dict[str, Any]:
    """Return the state fields that name this process as the supervisor."""
    return {"supervisor": os.getpid(), "supervisor_started": process_start(os.getpid())}


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run folder for one supervisor; raise RunError if another process holds the lock.

    The kernel releases the lock when the process ends, however it ends.
    """
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
        content = yaml.safe_load((folder / SETTLED).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    return str(content.get("task", "")) if isinstance(content, dict) else ""


def append_event(folder: Path, event: str, **fields: Any) -> None:
    """Append an event; the one that ends a run gets its task.

    One write per line, so that lines of two writers never mix.
    """
    if event in events.ENDING:
        fields = {"task": task_of(folder), **fields}
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False)
    with (folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the events after a byte offset, and the offset of the next one.

    A last line that is still being written is left for the next call; a torn line, or one that is
    not an event, is skipped.
    """
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return [], offset
    complete = data[: data.rfind(b"\n") + 1]
    records = []
    for line in complete.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "event" in record:
                records.append(record)
    return records, offset + len(complete)


def register(folder: Path) -> Path | None:
    """Link a run in the user's index, so that it is found from any directory; return the link."""
    index = home() / "runs"
    with contextlib.suppress(OSError):
        index.mkdir(parents=True, exist_ok=True)
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
        folder = link.resolve()
        if not (folder / STATE).is_file():
            if not folder.exists() and not _is_being_made(folder):
                link.unlink(missing_ok=True)
            continue
        sweep(folder)
        known[folder] = Run(folder, read_json(folder / STATE))
    yield from sorted(known.values(), key=lambda run: -float(run.state.get("started") or 0))


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
        return Run(folder.resolve(), read_json(folder / STATE))
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


def run_summary(run: Run) -> dict[str, Any]:
    """Return the row of a run in a list of runs."""
    last: dict[str, Any] = {}
    for event in read_events(run.folder)[0]:
        inner = event.get("inner") or event
        if inner.get("event") == events.STEP:
            last = inner
    return {
        "name": run.name,
        "status": run.status,
        "step": last.get("step"),
        "total_steps": last.get("total_steps"),
        "loss": last.get("loss"),
        "started": run.state.get("started"),
        "url": run.state.get("url") if run.is_active else None,
        "parts": pipeline_steps(run),
        "folder": str(run.folder),
    }


def pipeline_steps(run: Run) -> list[dict[str, Any]]:
    """Return the steps of a pipeline: name, task, status, folder, seconds and outputs."""
    records: list[dict[str, Any]] = read_json(run.folder / PIPELINE).get("steps") or []
    columns = ("name", "task", "status", "folder", "seconds", "made")
    rows = [{key: record.get(key) for key in columns} for record in records]
    for row in rows:
        if row["status"] == "running" and not run.is_active:
            row["status"] = "stopped"  # its process was killed before it could record that
    return rows


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
    is_step = folder.parent.name == "steps" and (folder.parent.parent / PIPELINE).is_file()
    return folder.name.partition("-")[2] if is_step else folder.name


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("checkpoint-"))
