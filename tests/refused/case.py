"""A refusal that `check` makes, the world it is made in, and what its hint proposes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from cures import cures
from in_process import workers_here
from made_up import made_up

import swiftbox
from swiftbox.cli.main import main
from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import loads
from swiftbox.tasks.names import name_remarks
from swiftbox.tasks.places import place_remarks

ROOT = Path(swiftbox.__file__).parent

Settings = Mapping[str, Any]

MOST_STEPS = 8
"""Hints that are followed one after the other; more of them are a circle."""


@dataclass(frozen=True)
class Refused:
    """Settings that are refused."""

    place: str
    """Where the refusal is made, file:function."""
    settings: Settings
    cure: Settings = field(default_factory=dict)
    """What the hint proposes in words; empty if it names the settings itself. None removes one."""
    machine: str | Machine = "cpu"

    @property
    def name(self) -> str:
        """Name the case after its place and its last setting."""
        return f"{self.place}-{list(self.settings)[-1]}"


@dataclass(frozen=True)
class Refusal:
    """What was said, and the places where errors were made."""

    message: str
    hint: str
    places: frozenset[str]


def refusal_of(settings: Settings, machine: str | Machine) -> Refusal | None:
    """Plan and check settings on a made-up machine; return the refusal, None without."""
    with _recorded() as places:
        try:
            config: TaskConfig = loads(yaml.safe_dump(dict(settings)), source="a.yaml").config
            place_remarks(config)
            name_remarks(config)
            target = made_up(machine) if isinstance(machine, str) else machine
            check_config(with_absolute_paths(plan(config, target).config))
        except UserError as error:
            return Refusal(error.message, error.hint, frozenset(places))
    return None


@contextmanager
def _recorded() -> Iterator[set[str]]:
    """Yield the places, as file:function, where errors for the user are made in this block."""
    places: set[str] = set()
    original = UserError.__init__

    def init(self: UserError, message: str, *, hint: str = "") -> None:
        frame = sys._getframe(1)
        while frame.f_code.co_name.startswith("<") and frame.f_back is not None:
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT):
            places.add(f"{file.relative_to(ROOT).as_posix()}:{frame.f_code.co_name}")
        original(self, message, hint=hint)

    with patch.object(UserError, "__init__", init):
        yield places


@dataclass(frozen=True)
class Answer:
    """What a command answered: its exit code, what it printed, where it made errors."""

    code: int
    hint: str
    places: frozenset[str]


def answer_of(line: str) -> Answer:
    """Run a command of swiftbox in this process and folder."""
    error = StringIO()
    with _recorded() as places, workers_here(), redirect_stdout(StringIO()), redirect_stderr(error):
        try:
            code = main(shlex.split(line))
        except SystemExit as ended:
            code = int(ended.code or 0)
    _, _, hint = error.getvalue().partition("hint: ")
    return Answer(code, hint, frozenset(places))


def changed(settings: Settings, cure: Settings) -> Settings:
    """Return settings with the changes of a hint; None removes one."""
    return {key: value for key, value in {**settings, **cure}.items() if value is not None}


def proposed(case: Refused, refusal: Refusal) -> list[Settings]:
    """Return what a hint proposes to change in this very task."""
    task = case.settings["task"]
    if case.cure:
        return [case.cure]
    return [cure for cure in alternatives(refusal) if cure.get("task", task) == task]


def alternatives(refusal: Refusal) -> list[dict[str, Any]]:
    """Return the changes that a refusal proposes: in its hint, else after its problems."""
    if " to fix; " not in refusal.hint:
        return cures(refusal.hint)
    return [
        cure for line in refusal.message.splitlines() for cure in cures(line.partition("; ")[2])
    ]


def leads_out(
    settings: Settings, machine: str | Machine, before: tuple[Settings, ...] = ()
) -> bool:
    """Tell whether following the hints ends: accepted, or with one that proposes no setting."""
    if settings in before or len(before) > MOST_STEPS:
        return False
    refusal = refusal_of(settings, machine)
    if refusal is None or not (cures_of := alternatives(refusal)):
        return True
    trail = (*before, settings)
    return any(leads_out(changed(settings, cure), machine, trail) for cure in cures_of)
