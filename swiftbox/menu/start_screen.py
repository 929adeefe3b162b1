"""Where a YAML starts from: what the task works on, a YAML in this folder, or a preset."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.devices.probe import Probe
from swiftbox.language import text
from swiftbox.menu.draft import draft_from_file, new_draft
from swiftbox.menu.field_question import ask_field
from swiftbox.menu.form import fill_form
from swiftbox.menu.questions import Back, select
from swiftbox.menu.review_screen import TaskScreen, review

HEAD_CHARACTERS = 4000
"""Characters at the start of a YAML that are searched for `task:`, which follows the comments."""

Start = str | Path | None
"""The field to ask first, a YAML to start from, or None for an empty form."""


def open_form(task: str, screen: TaskScreen, probe: Probe) -> Path | None:
    """Go through a task from its first question; return the folder of a run that is done.

    Raises Back from the first question.
    """
    starts = starts_of(task, screen)
    while True:
        start = starts[0][0]
        if len(starts) > 1:
            start = select(text("Start from what?", "从哪里开始？"), starts)
        try:
            if isinstance(start, Path):
                return review(draft_from_file(start, probe.now), screen)
            return _fill_and_review(start, task, screen, probe)
        except Back:
            if len(starts) == 1:
                raise  # there was no question before the form


def _fill_and_review(
    subject: str | None, task: str, screen: TaskScreen, probe: Probe
) -> Path | None:
    """Ask the form and review it; Back from the review leads to the form's last question."""
    draft, without = new_draft(task, {}, probe.now), screen.hidden_fields
    if subject is not None:
        card = next(card for card in cards(draft.config_class) if card.name == subject)
        answer = ask_field(draft.config_class, replace(card, required=True), {}, probe.now)
        draft, without = draft.with_values(**{subject: answer}), (*without, *screen.subjects)
    filled = False
    while True:
        values = fill_form(
            draft.config_class, draft.values, probe.now, without=without, from_last=filled
        )
        draft, filled = replace(draft, values=values), True
        probe.result()  # the plan needs the devices; raises if they cannot be probed
        try:
            return review(draft, screen)
        except Back:
            continue


def starts_of(task: str, screen: TaskScreen) -> list[tuple[Start, str]]:
    """Return the choices that a new YAML of a task can start from, with their titles."""
    subjects = {
        "adapter": text("an adapter (with its base)", "适配器（连同其基座）"),
        "model": text("a model", "模型"),
    }
    starts: list[tuple[Start, str]] = [(name, subjects[name]) for name in screen.subjects]
    starts = starts or [(None, text("a new one", "新建"))]
    starts += [(path, text(f"file {path.name}", f"文件 {path.name}")) for path in files_of(task)]
    of_task = [(name, path) for name, path in presets().items() if name.split("-")[0] == task]
    if len(of_task) > 1:
        starts += [(path, text(f"preset {name}", f"预设 {name}")) for name, path in of_task]
    return starts


def files_of(task: str) -> list[Path]:
    """Return the YAMLs of a task in the current folder."""
    return [path for path in sorted(Path().glob("*.yaml")) if task_in(path) == task]


def task_in(path: Path) -> str:
    """Return the task of a YAML; without `task:` it is a training."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(HEAD_CHARACTERS)
    except OSError:
        return ""
    line = re.search(r"^task:\s*[\"']?(\w+)", head, re.MULTILINE)
    return line[1] if line else "train"
