"""The training screens: the goal to start from, the form, and what its review has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu import review_screen as reviewing
from swiftbox.menu.draft import Draft, of_file
from swiftbox.menu.form import fill
from swiftbox.menu.goals import GOALS, Goal
from swiftbox.menu.questions import Back, pause, select
from swiftbox.menu.review_screen import Extra, Screen
from swiftbox.menu.start_screen import files_of
from swiftbox.tasks.load import of_training
from swiftbox.tasks.train import TRAIN


def begin(probe: Any) -> Path | None:
    """Go through a training; return its folder once it is done. Back at the first returns home."""
    while True:
        draft = replace(start_from(), machine=probe.now)
        try:
            if draft.file is None:
                draft = replace(draft, values=fill(draft.model, draft.values, draft.machine))
            probe.result()  # the devices are known from here on, or the reason why not
            return review(draft)
        except Back:
            continue


def start_from() -> Draft:
    """Let the goal be chosen, or a YAML to start from."""
    choices: list[tuple[Any, str]] = [(("new", goal), goal.title) for goal in GOALS]
    for path in files_of("train"):
        choices.append((("file", path), text(f"file {path.name}", f"文件 {path.name}")))
    for name, path in presets().items():
        if name.split("-")[0] in TRAIN.config_classes:
            choices.append((("file", path), text(f"preset {name}", f"预设 {name}")))
    while True:
        kind, chosen = select(text("What is to be learned?", "要训练什么？"), choices)
        if kind != "new":
            return of_file(chosen)
        try:
            return Draft(TRAIN.config_classes[method_for(chosen)], dict(chosen.values))
        except Back:
            continue


def method_for(goal: Goal) -> str:
    """Ask for the method where several lead to the goal."""
    if len(goal.stages) == 1:
        return goal.stages[0]
    titles = []
    for name in goal.stages:
        stage = next(card for card in cards(TRAIN.config_classes[name]) if card.name == "stage")
        titles.append((name, stage.help))
    return str(select(text("By which method?", "用哪种方法？"), titles))


def review(draft: Draft) -> Path | None:
    """Review a training; see `reviewing.review`."""
    return reviewing.review(draft, SCREEN)


def extras(_draft: Draft, prepared: Prepared | None) -> Sequence[Extra]:
    """Offer to make it fit where it does not, and to see rows as the model does."""
    rows = text("see three rows as the model does", "查看模型实际看到的三条样本")
    found = [Extra(rows, preview)]
    cure = prepared.estimate.proposal if prepared and prepared.estimate else None
    if cure is not None:
        title = text(f"make it fit: {cure.settings()}", f"使其放得下：{cure.settings()}")
        found.append(Extra(title, lambda draft: draft.with_values(**cure.changes), "first"))
    return found


def preview(draft: Draft) -> Draft:
    """Show three rows with the learned tokens marked, and how long the rows are."""
    from swiftbox.display.row_preview import show as show_rows

    show_rows(of_training(draft.loaded().config))
    pause()
    return draft


SCREEN = Screen(extras=extras)
