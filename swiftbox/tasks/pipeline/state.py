"""The record of a pipeline's steps: pipeline.json, and a folder for each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from swiftbox.errors import RunError
from swiftbox.files import write_json
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import EARLIER, STEPS
from swiftbox.runs.plain_files import read_plain
from swiftbox.runs.summary import step_inside, step_records
from swiftbox.security.origin import signed_json

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
STOPPED, SKIPPED = "stopped", "skipped"

ON_DISK = {
    "name": "name",
    "task": "task",
    "folder": "folder",
    "status": "status",
    "fingerprint": "mark",
    "finished": "finished",
    "seconds": "seconds",
    "outputs": "made",
    "identities": "seen",
    "why": "why",
    "instead": "instead",
}
"""The key in pipeline.json of each field of a record; old runs are read with the same keys."""


@dataclass
class StepRecord:
    """One step: its status, the fingerprint it ran with, and its outputs."""

    name: str
    task: str
    folder: str
    """Relative to the pipeline's."""
    status: str = WAITING
    fingerprint: str = ""
    finished: float | None = None
    seconds: float | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    identities: dict[str, list[Any]] = field(default_factory=dict)
    """The identity of each output, which a later version of it does not have."""
    why: str = ""
    """Why it was skipped."""
    instead: list[str] = field(default_factory=list)
    """What it used in place of the results of skipped steps."""


def read(folder: Path) -> dict[str, StepRecord]:
    """Return the recorded steps of a pipeline, by name; an older version may lack some keys.

    Raises RunError for a step whose folder is not one of this pipeline.
    """
    rows = step_records(folder)
    for row in rows:
        step_inside(folder, row)
    records = (
        StepRecord(**{name: row[key] for name, key in ON_DISK.items() if key in row})
        for row in rows
    )
    return {record.name: record for record in records}


def write(folder: Path, records: Mapping[str, StepRecord]) -> None:
    """Record the steps of a pipeline, signed."""
    rows = [
        {key: getattr(record, name) for name, key in ON_DISK.items()} for record in records.values()
    ]
    write_json(folder / run_folder.PIPELINE, signed_json(run_folder.PIPELINE, {"steps": rows}))


def settings_in(folder: Path) -> Mapping[str, Any]:
    """Return the plain settings that a step ran with, without its folder; empty without a record.

    They are compared and shown only.
    """
    try:
        content = yaml.safe_load(read_plain(folder / run_folder.SETTLED))
    except (OSError, ValueError, RecursionError, RunError, yaml.YAMLError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        str(key): value
        for key, value in content.items()
        if key != "output_dir" and isinstance(value, (str, int, float, type(None)))
    }


def step_folder(number: int, name: str) -> str:
    """Return a step's folder relative to the pipeline's: its number, from 1, and its name."""
    return f"{STEPS}/{number:02}-{name}"


def set_aside(pipeline: Path, record: StepRecord) -> str | None:
    """Move the folder of a step to steps/earlier; return its new place, None if it is missing."""
    folder = pipeline / record.folder
    if not folder.exists():
        return None
    earlier = pipeline / STEPS / EARLIER
    earlier.mkdir(parents=True, exist_ok=True)
    number = 1
    while (target := earlier / f"{folder.name}-{number}").exists():
        number += 1
    folder.rename(target)
    return str(target.relative_to(pipeline))
