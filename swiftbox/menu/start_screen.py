"""Where a YAML starts from: the files of a task that lie here, its presets, or the form."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.language import text
from swiftbox.menu.draft import of_file, of_task
from swiftbox.menu.form import ask_field, fill
from swiftbox.menu.questions import Back, select
from swiftbox.menu.review_screen import Screen, review

BEGINNING = 4000
"""Bytes of a YAML in which `task:` is looked for; it comes first, after the comments."""


Start = str | Path | None
"""A field that says what it is about, a YAML, or nothing yet."""


def begin(task: str, screen: Screen, probe: Any) -> Path | None:
    """Go through a task; return the run's folder once it is done. Back at the first: home."""
    starts = starts_of(task, screen)
    while True:
        start = starts[0][0]
        if len(starts) > 1:
            start = select(text("Start from", "从哪里开始？"), starts)
        try:
            return _from(start, task, screen, probe)
        except Back:
            if len(starts) == 1:
                raise  # nothing was asked before


def _from(start: Start, task: str, screen: Screen, probe: Any) -> Path | None:
    """Fill in the form and review it; back from the review leads to the form's last question."""
    if isinstance(start, Path):
        return review(of_file(start, probe.now), screen)
    draft, without = of_task(task, {}, probe.now), screen.without
    if start is not None:
        about = next(one for one in cards(draft.model) if one.name == start)
        answer = ask_field(draft.model, replace(about, required=True), {}, probe.now)
        draft, without = draft.with_values(**{start: answer}), (*without, *screen.either)
    seen = False
    while True:
        values = fill(draft.model, draft.values, probe.now, without=without, from_last=seen)
        draft, seen = replace(draft, values=values), True
        probe.result()  # the devices are known from here on, or the reason why not
        try:
            return review(draft, screen)
        except Back:
            continue


def starts_of(task: str, screen: Screen) -> list[tuple[Start, str]]:
    """Return what a YAML of a task can start from: what it is about, files here, presets."""
    about = {
        "adapter": text("an adapter, on its base", "适配器（连同其基座）"),
        "model": text("a model", "模型"),
    }
    found: list[tuple[Start, str]] = [(name, about[name]) for name in screen.either]
    found = found or [(None, text("a new one", "新建"))]
    found += [(one, text(f"file {one.name}", f"文件 {one.name}")) for one in files_of(task)]
    kept = [(name, path) for name, path in presets().items() if name.split("-")[0] == task]
    if len(kept) > 1:
        found += [(path, text(f"preset {name}", f"预设 {name}")) for name, path in kept]
    return found


def files_of(task: str) -> list[Path]:
    """Return the YAMLs of a task in the current folder; one that names none is a training."""
    found = sorted(Path().glob("*.yaml"))
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
