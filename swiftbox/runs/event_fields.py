"""Compare recorded events with the fields that runs/events.py and ending_fields.py list."""

from __future__ import annotations

from swiftbox.runs.ending_fields import ENDINGS, FAILURE, UNSAVED
from swiftbox.runs.events import (
    COMMON,
    ENDING,
    FAILED,
    STOPPED,
    Event,
    Fields,
)


def fields_of(event: str, task: str) -> Fields:
    """Return the fields of an event that a task emits; raise KeyError for an unknown event."""
    if event in COMMON:
        return COMMON[event]
    if event == FAILED:
        return FAILURE
    if event == STOPPED:
        return ENDINGS.get((event, task), UNSAVED)
    return ENDINGS[event, task]


def mistakes(record: Event, task: str) -> list[str]:
    """Return what differs between a recorded event of a task and the fields listed here."""
    name = str(record.get("event"))
    try:
        fields = fields_of(name, task)
    except KeyError:
        return [f"{name}: unknown event of {task}"]
    recorded = set(record) - {"time", "event"}
    known = {*fields.required, *fields.optional}
    if name in ENDING:
        known.add("task")
    missing = [f"{name}: no field {key}" for key in sorted(set(fields.required) - recorded)]
    extra = [f"{name}: unlisted field {key}" for key in sorted(recorded - known)]
    return missing + ([] if fields.open else extra)
