"""The training screens: the goal to start from, the form, and the actions of its review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swiftbox.config.fields import cards
from swiftbox.config.presets import presets
from swiftbox.devices.probe import Probe
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared
from swiftbox.menu.draft import Draft, draft_from_file
from swiftbox.menu.form import fill_form
from swiftbox.menu.goals import GOALS, Goal
from swiftbox.menu.questions import Back, pause, select
from swiftbox.menu.review_screen import ReviewAction, TaskScreen, review
from swiftbox.menu.start_screen import files_of
from swiftbox.tasks.load import require_training
from swiftbox.tasks.train import TRAIN


def open_training(probe: Probe) -> Path | None:
    """Go through a training; return the folder of a run that is done.

    Raises Back from the first question.
    """
    while True:
        draft = replace(choose_start(), machine=probe.now)
        try:
            if draft.file is None:
                values = fill_form(draft.config_class, draft.values, draft.machine)
                draft = replace(draft, values=values)
            probe.result()  # the plan needs the devices; raises if they cannot be probed
            return review(draft, SCREEN)
        except Back:
            continue


def choose_start() -> Draft:
    """Let a goal be chosen, or a YAML to start from."""
    starts: list[tuple[Goal | Path, str]] = [(goal, goal.title) for goal in GOALS]
    starts += [(path, text(f"file {path.name}", f"文件 {path.name}")) for path in files_of("train")]
    starts += [
        (path, text(f"preset {name}", f"预设 {name}"))
        for name, path in presets().items()
        if name.split("-")[0] in TRAIN.config_classes
    ]
    while True:
        start = select(text("What should the model learn?", "要训练什么？"), starts)
        if isinstance(start, Path):
            return draft_from_file(start)
        try:
            return Draft(TRAIN.config_classes[choose_method(start)], dict(start.values))
        except Back:
            continue


def choose_method(goal: Goal) -> str:
    """Ask for the method if several lead to the goal."""
    if len(goal.stages) == 1:
        return goal.stages[0]
    titles = []
    for stage in goal.stages:
        card = next(card for card in cards(TRAIN.config_classes[stage]) if card.name == "stage")
        titles.append((stage, card.help))
    return str(select(text("Which method?", "用哪种方法？"), titles))


def review_actions(_draft: Draft, prepared: Prepared | None) -> Sequence[ReviewAction]:
    """Offer changes that make the training fit, and a preview of rows as the model sees them."""
    preview = text("preview three rows as the model sees them", "预览模型实际看到的三条样本")
    actions = [ReviewAction(preview, preview_rows)]
    proposal = prepared.estimate.proposal if prepared and prepared.estimate else None
    if proposal is not None:
        settings = proposal.settings()
        title = text(f"make it fit: {settings}", f"调整到放得下：{settings}")

        def make_it_fit(draft: Draft) -> Draft:
            return draft.with_values(**proposal.changes)

        actions.append(ReviewAction(title, make_it_fit, "before run"))
    return actions


def preview_rows(draft: Draft) -> Draft:
    """Show three rows with the learned tokens marked, and the lengths of rows."""
    from swiftbox.display.row_preview import show as show_preview

    show_preview(require_training(draft.loaded().config))
    pause()
    return draft


SCREEN = TaskScreen(actions=review_actions)
