"""The events of runs: each is declared with its fields, and emitted with exactly those."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import swiftbox
from swiftbox.display.lines import DISPLAYS
from swiftbox.runs import ending_fields, events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.event_fields import mistakes
from swiftbox.tasks import TASKS

PACKAGE = Path(swiftbox.__file__).parent

NAMES = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}


def emissions(source: str) -> Iterator[tuple[int, str, set[str], bool]]:
    """Yield line, event, literal fields, and whether further fields are unpacked."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = str(getattr(node.func, "attr", getattr(node.func, "id", "")))
        position = {"emit": 0, "_emit": 0, "append_event": 1}.get(function)
        if position is None or len(node.args) <= position:
            continue
        event = node.args[position]
        if isinstance(event, ast.Attribute) and getattr(event.value, "id", "") == "events":
            fields = {keyword.arg for keyword in node.keywords if keyword.arg}
            unpacks = any(keyword.arg is None for keyword in node.keywords)
            yield node.lineno, str(getattr(events, event.attr)), fields, unpacks


def declarations(event: str) -> list[events.Fields]:
    if event in events.COMMON:
        return [events.COMMON[event]]
    if event == events.FAILED:
        return [ending_fields.FAILURE]
    return [fields for (name, _), fields in ending_fields.ENDINGS.items() if name == event]


def fits(declared: events.Fields, fields: set[str], unpacks: bool) -> bool:
    known = {*declared.required, *declared.optional}
    is_known = declared.open or fields <= known
    return is_known and (unpacks or set(declared.required) <= fields)


def wrong_emissions(source: str) -> list[tuple[int, str]]:
    """Return line and event of every emission whose fields are not the declared ones."""
    return [
        (line, event)
        for line, event, fields, unpacks in emissions(source)
        if not any(fits(declared, fields, unpacks) for declared in declarations(event))
    ]


def test_every_emission_has_exactly_its_declared_fields() -> None:
    wrong = {str(path): wrong_emissions(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert not {path: emitted for path, emitted in wrong.items() if emitted}


@pytest.mark.parametrize(
    "planted",
    [
        "emit(events.NOTE, key='x')",
        "emit(events.NOTE, message='x', colour='red')",
        "emit(events.DONE, seconds=1.0, model='m', report='r')",
    ],
)
def test_a_missing_or_unlisted_field_is_found(planted: str) -> None:
    assert wrong_emissions(planted)


def test_every_event_is_declared_and_emitted() -> None:
    declared = {*events.COMMON, *events.ENDING}
    assert declared == NAMES
    sources = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py")]
    emitted = {event for source in sources for _, event, _, _ in emissions(source)}
    from_tools = {events.QUANTIZING, events.CONVERTING}
    assert declared - emitted == from_tools


def test_every_task_says_how_it_ends_and_what_is_shown_of_it() -> None:
    assert set(DISPLAYS) == set(TASKS)
    endless = {"deploy"}
    assert {task for event, task in ending_fields.ENDINGS if event == events.DONE} == set(
        TASKS
    ) - endless


def test_every_event_that_a_display_shows_is_declared() -> None:
    shown = {name for display in DISPLAYS.values() for name in (*display.lines, *display.status)}
    assert shown <= NAMES


def test_an_ending_carries_the_task_of_its_run(tmp_path: Path) -> None:
    (tmp_path / run_folder.SETTLED).write_text("version: 1\ntask: merge\n", encoding="utf-8")
    run_folder.append_event(tmp_path, events.NOTE, message="m")
    run_folder.append_event(tmp_path, events.DONE, seconds=1.0, model="m")
    note, done = run_folder.read_events(tmp_path)[0]
    assert "task" not in note
    assert done["task"] == "merge"
    assert [mistakes(event, "merge") for event in (note, done)] == [[], []]


def test_a_line_that_is_not_an_event_is_skipped(tmp_path: Path) -> None:
    run_folder.append_event(tmp_path, events.NOTE, message="m")
    with (tmp_path / run_folder.EVENTS).open("a", encoding="utf-8") as file:
        file.write('12\n{"time": 1.0}\n{"torn": \n')
    records, _ = run_folder.read_events(tmp_path)
    assert [event["event"] for event in records] == [events.NOTE]


def test_a_record_with_other_fields_is_described() -> None:
    done: dict[str, Any] = {"time": 1.0, "event": "done", "task": "merge", "seconds": 1.0}
    assert mistakes(done, "merge") == ["done: no field model"]
    assert mistakes({"event": "dnoe"}, "merge") == ["dnoe: unknown event of merge"]
    note = {"event": "note", "message": "m", "color": "red"}
    assert mistakes(note, "merge") == ["note: unlisted field color"]


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    """JSON has no infinity: a reader of another language would refuse the line."""
    norm = float("inf")
    metrics = {"accuracy": float("nan"), "margin": 0.5}
    run_folder.append_event(tmp_path, events.NOTE, grad_norm=norm, metrics=metrics)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = (tmp_path / run_folder.EVENTS).read_text("utf-8")
    event = json.loads(line, parse_constant=refuse)
    assert event["grad_norm"] is None
    assert event["metrics"] == {"accuracy": None, "margin": 0.5}
