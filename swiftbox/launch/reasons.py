"""Keep the reasons of a run's first plan when it is resumed or repeated.

The recorded settings have no `auto` left. Planned again, each value would look like a request of
the user, although the first plan chose most of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.task import TaskConfig
from swiftbox.plan import Plan
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record
from swiftbox.security.printable import printable
from swiftbox.tasks.task import Reason

MISSING = object()
"""Stands for a key that a config does not have."""


def with_first_reasons(
    planned: Plan, folder: Path, recorded: TaskConfig, overrides: Iterable[str]
) -> Plan:
    """Return a plan whose recorded values carry the reasons in a run folder.

    `recorded` is the config that was planned again. Values that `overrides` or the new plan
    changed keep their new reasons.
    """
    changed = {override.partition("=")[0].strip() for override in overrides}
    recorded_reasons = read_record(folder / run_folder.REASONS)
    first = {
        key: printable(why)
        for key, why in recorded_reasons.items()
        if isinstance(why, str) and key not in changed and _is_kept(key, planned.config, recorded)
    }
    notes = [replace(note, why=first.pop(note.key, note.why)) for note in planned.notes]
    notes += [Reason(key, _value(planned.config, key), why) for key, why in first.items()]
    order = {key: number for number, key in enumerate(recorded_reasons)}
    notes.sort(key=lambda note: order.get(note.key, len(order)))
    return replace(planned, notes=tuple(notes))


def _is_kept(key: str, planned: TaskConfig, recorded: TaskConfig) -> bool:
    value = _value(planned, key)
    return value is not MISSING and bool(value == _value(recorded, key))


def _value(config: TaskConfig, key: str) -> Any:
    """Return the value of a key, in a pipeline of `STEP.KEY`; MISSING if there is none."""
    if isinstance(config, PipelineConfig):
        name, _, key = key.partition(".")
        step = next((step for step in config.steps if step.name == name), None)
        if step is None:
            return MISSING
        config = step.config
    return getattr(config, key) if key in type(config).model_fields else MISSING
