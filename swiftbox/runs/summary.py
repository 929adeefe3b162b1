"""What a list of runs shows of one, and the steps of a pipeline as its record describes them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.errors import RunError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import Run, is_number
from swiftbox.runs.plain_files import not_plain, read_record


def run_summary(run: Run) -> dict[str, Any]:
    """Return the row of a run in a list of runs."""
    last = _newest_step(run.folder)
    return {
        "name": run.name,
        "status": run.status,
        "step": last.get("step"),
        "total_steps": last.get("total_steps"),
        "loss": last.get("loss"),
        "started": run.started,
        "url": run.url,
        "parts": pipeline_steps(run),
        "folder": str(run.folder),
    }


def _newest_step(folder: Path) -> dict[str, Any]:
    """Return the numbers of the newest training step, also of one inside a pipeline."""
    for event in run_folder.newest_events(folder):
        inner = event.get("inner")
        step = inner if isinstance(inner, dict) else event
        if step.get("event") == events.STEP:
            numbers = {key: step.get(key) for key in ("step", "total_steps", "loss")}
            return {key: value for key, value in numbers.items() if is_number(value)}
    return {}


def best_checkpoint(folder: Path) -> str | None:
    """Return the name of the checkpoint of the best evaluation; None if none is kept for that."""
    for event in run_folder.newest_events(folder):
        step = event.get("step")
        if event.get("event") == events.CHECKPOINT and event.get("best") is True:
            return f"checkpoint-{step}" if isinstance(step, int) else None
    return None


def pipeline_steps(run: Run) -> list[dict[str, Any]]:
    """Return the steps of a pipeline: name, task, status, folder, seconds and outputs.

    Rows that do not describe a step inside the run folder are left out.
    """
    rows = []
    for record in step_records(run.folder):
        with contextlib.suppress(RunError):
            step_inside(run.folder, record)
            columns = ("name", "task", "status", "folder", "seconds", "made", "why", "instead")
            rows.append({key: record.get(key) for key in columns})
    for row in rows:
        if row["status"] == "running" and not run.is_active:
            row["status"] = "stopped"  # its process was killed before it could record that
    return rows


def step_records(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of pipeline.json, as they were written."""
    rows = read_record(folder / run_folder.PIPELINE).get("steps")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def step_inside(folder: Path, record: Mapping[str, Any]) -> Path:
    """Return the folder of a recorded step; raise RunError unless it is `steps/NAME` in here."""
    recorded, outputs = record.get("folder"), record.get("made")
    texts = (record.get("name"), record.get("task"), record.get("status", ""))
    is_text = all(isinstance(value, str) for value in texts)
    if not is_text or not isinstance(outputs, (dict, type(None))) or not _is_step(recorded):
        raise _no_step(folder / run_folder.PIPELINE, recorded)
    step = folder / str(recorded)
    if links := [path for path in (step.parent, step) if path.is_symlink()]:
        raise not_plain(links)
    return step


def _is_step(recorded: object) -> bool:
    parts = Path(recorded).parts if isinstance(recorded, str) else ()
    return (
        len(parts) == 2
        and parts[0] == run_folder.STEPS
        and parts[1] not in ("..", run_folder.EARLIER)
        and "\0" not in parts[1]
    )


def _no_step(record: Path, recorded: object) -> RunError:
    return RunError(
        text(
            f"{record}: not the folder of a step: {recorded}",
            f"{record}：不是步骤的目录：{recorded}",
        ),
        hint=text(
            "the record was changed; run its settled.yaml in a new folder",
            "记录已被改动；请用其 settled.yaml 在新目录中运行",
        ),
    )
