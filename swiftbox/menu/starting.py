"""Where a YAML starts from: the files of a task that lie here, its presets, or the form."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.language import text
from swiftbox.menu.ask import Back, select
from swiftbox.menu.draft import Draft, of_file, of_task
from swiftbox.menu.form import fill
from swiftbox.menu.reviewing import Screen, review
from swiftbox.presets import presets

BEGINNING = 4000
"""Bytes of a YAML in which `task:` is looked for; it comes first, after the comments."""


def begin(task: str, screen: Screen, probe: Any) -> Path | None:
    """Go through a task; return the run's folder once it is done. Back at the first: home."""
    while True:
        draft = replace(start_from(task), machine=probe.now)
        try:
            return _filled(draft, screen, probe)
        except Back:
            if len(starts_of(task)) == 1:
                raise  # nothing was asked before


def _filled(draft: Draft, screen: Screen, probe: Any) -> Path | None:
    """Fill in the form and review it; back from the review leads to the form's last question."""
    if draft.file is not None:
        return review(draft, screen)
    seen = False
    while True:
        values = fill(
            draft.model, draft.values, draft.machine, without=screen.without, from_last=seen
        )
        draft, seen = replace(draft, values=values), True
        probe.result()  # the devices are known from here on, or the reason why not
        try:
            return review(draft, screen)
        except Back:
            continue


def start_from(task: str) -> Draft:
    """Let a new YAML be begun, or one be chosen that lies here; ask where there is a choice."""
    choices = starts_of(task)
    chosen = choices[0][0]
    if len(choices) > 1:
        chosen = select(text("Start from", "从哪里开始？"), choices)
    return of_task(task, {}) if chosen is None else of_file(chosen)


def starts_of(task: str) -> list[tuple[Path | None, str]]:
    """Return what a YAML of a task can start from, None for nothing; the files here come first."""
    files = files_of(task)
    kept = [(name, path) for name, path in presets().items() if name.split("-")[0] == task]
    found: list[tuple[Path | None, str]] = [(None, text("a new one", "新建"))]
    found += [(one, text(f"file {one.name}", f"文件 {one.name}")) for one in files]
    if len(kept) > 1:
        found += [(path, text(f"preset {name}", f"预设 {name}")) for name, path in kept]
    return found


def files_of(task: str) -> list[Path]:
    """Return the YAMLs of a task in the current folder; one that names none is a training."""
    found = sorted(Path.cwd().glob("*.yaml"))
    return [one for one in found if task_in(one) == task]


def task_in(path: Path) -> str:
    """Return the task that a YAML names, without reading it as one."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(BEGINNING)
    except OSError:
        return ""
    said = re.search(r"^task:\s*[\"']?(\w+)", head, re.MULTILINE)
    return said[1] if said else "train"
