"""The review of every task: its YAML, its plan with reasons, the equivalent command, the actions.

What is prepared is kept while the draft and the files it names are unchanged, and handed to the
run: nothing is planned, probed or read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from swiftbox.config.presets import presets
from swiftbox.display.row_progress import shown_row_progress
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared, agreed, prepare_loaded
from swiftbox.menu import merge_first
from swiftbox.menu.actions import print_yaml, run_prepared, save_as
from swiftbox.menu.draft import Draft, default_file_name, equivalent_command
from swiftbox.menu.editor import edit
from swiftbox.menu.form import change_settings
from swiftbox.menu.questions import Back, select
from swiftbox.menu.start_questions import ask_to_start, install_engines, with_offers
from swiftbox.menu.terminal import print_error, print_line, print_wrapped
from swiftbox.tasks.load import Loaded

ChangeDraft = Callable[[Draft], Draft]


@dataclass(frozen=True)
class ReviewAction:
    """An additional action in the review of a task; it returns the draft, changed or not.

    `position`: before running, after running, or after what every task has.
    """

    title: str
    apply: ChangeDraft
    position: Literal["before run", "after run", "last"] = "last"


def _no_actions(_draft: Draft, _prepared: Prepared | None) -> Sequence[ReviewAction]:
    return ()


def _prepare(loaded: Loaded, previous: Prepared | None) -> Prepared:
    with shown_row_progress():
        return prepare_loaded(loaded, previous=previous)


@dataclass(frozen=True)
class TaskScreen:
    """What the review of a task declares; the defaults fit most tasks."""

    run_title: tuple[str, str] = ("run it", "运行")
    detach_title: tuple[str, str] = ("run it in the background", "后台运行")
    serves: bool = False
    """Whether it runs until it is stopped; running in the background is then proposed."""
    subjects: tuple[str, ...] = ()
    """Fields of which one names what the task works on: which one is asked first."""
    hidden_fields: tuple[str, ...] = ()
    """Fields with actions for them, which `change a setting` leaves out."""
    command: Callable[[Draft, Loaded], str] = equivalent_command
    actions: Callable[[Draft, Prepared | None], Sequence[ReviewAction]] = _no_actions
    prepare: Callable[[Loaded, Prepared | None], Prepared] = _prepare
    """Plans and checks; returns what was prepared before if it is still valid."""
    open: Callable[[Draft], None] | None = None
    """What takes the place of a run, with the terminal to itself."""


RUN, DETACH, BACK = "run", "detach", "back"


def review(draft: Draft, screen: TaskScreen) -> Path | None:
    """Show the review and do what is chosen until the user leaves, which raises Back.

    Returns the folder of a run that is done or serves; None for one that was left in the
    background or failed.
    """
    previous: Prepared | None = None
    while True:
        prepared, error = _shown(draft, screen, previous)
        previous = prepared or previous
        choices = _choices(draft, screen, prepared)
        if merge_first.can_merge(draft, error):
            choices = [(merge_first.merge, merge_first.title()), *choices]
        choice = select(text("What now?", "接下来？"), choices)
        if choice == BACK:
            raise Back
        try:
            if choice in (RUN, DETACH) and prepared is not None:
                prepare = partial(screen.prepare, draft.loaded(), None)
                prepared = previous = with_offers(prepared, prepare)
                prepared = agreed(prepared, ask_to_start)
                if screen.open is None:
                    return _run(draft, screen, prepared, detach=choice == DETACH)
                screen.open(draft)
            else:
                draft = choice(draft)
        except (Back, KeyboardInterrupt):  # Ctrl-C at a question or during work
            continue
        except UserError as error:
            print_error(error)


def _run(draft: Draft, screen: TaskScreen, prepared: Prepared, *, detach: bool) -> Path | None:
    """Install missing engines, save the YAML and run what was prepared."""
    install_engines(prepared)
    if draft.file is None or not draft.is_saved():
        save(draft)
    current = screen.prepare(draft.loaded(), prepared)  # the same, unless a file changed since
    return run_prepared(current, detach=detach, serves=screen.serves)


def _choices(
    draft: Draft, screen: TaskScreen, prepared: Prepared | None
) -> list[tuple[ChangeDraft | str, str]]:
    """Return the actions on a draft; one that cannot run can still be changed."""
    actions = screen.actions(draft, prepared)

    def actions_at(position: str) -> list[tuple[ChangeDraft | str, str]]:
        return [(action.apply, action.title) for action in actions if action.position == position]

    runs: list[tuple[ChangeDraft | str, str]] = []
    if prepared is not None:
        runs.append((RUN, text(*screen.run_title)))
        if screen.open is None:
            runs.append((DETACH, text(*screen.detach_title)))
    return [
        *actions_at("before run"),
        *(reversed(runs) if screen.serves else runs),
        *actions_at("after run"),
        (_change_settings(screen), text("change a setting", "修改设置")),
        (edit, text("edit the YAML in $EDITOR", "用 $EDITOR 编辑 YAML")),
        (_save, text("save the YAML", "保存 YAML")),
        *actions_at("last"),
        (BACK, text("back", "返回")),
    ]


def _change_settings(screen: TaskScreen) -> ChangeDraft:
    def change(draft: Draft) -> Draft:
        values = change_settings(
            draft.config_class, draft.values, draft.machine, without=screen.hidden_fields
        )
        return replace(draft, values=values)

    return change


def _save(draft: Draft) -> Draft:
    return replace(draft, file=save(draft))


def save(draft: Draft) -> Path:
    """Ask for a file name and write the YAML there."""
    proposed = str(draft.file or default_file_name(draft.loaded().config))
    if draft.file is not None and draft.file.parent == next(iter(presets().values())).parent:
        proposed = draft.file.name  # a preset is not changed: the copy goes to this folder
    return save_as(proposed, lambda path: replace(draft, file=path).yaml())


def show(draft: Draft, screen: TaskScreen, previous: Prepared | None) -> Prepared | None:
    """Print the review; return what was prepared, None if the draft cannot run as it is."""
    return _shown(draft, screen, previous)[0]


def _shown(
    draft: Draft, screen: TaskScreen, previous: Prepared | None
) -> tuple[Prepared | None, UserError | None]:
    """Print the review; return what was prepared, or the error that prevents it."""
    try:
        loaded = draft.loaded()
        print_yaml(draft.yaml())
        prepared = screen.prepare(loaded, previous)
    except UserError as error:
        print_error(error)
        return None, error
    for line in _plan_lines(prepared):
        print_wrapped(line)
    print_line(text("the same from the command line:", "等价的命令行："))
    for line in screen.command(draft, loaded).split(" && "):
        print_line(f"  {line}")
    return prepared, None


def _plan_lines(prepared: Prepared) -> list[str]:
    """Return what was settled and why, what the checks found, and what has to be installed."""
    rows = prepared.rows.summary().splitlines() if prepared.rows is not None else []
    estimate = prepared.estimate.lines() if prepared.estimate is not None else []
    notes = [note.line() for note in prepared.plan.notes]
    return [
        *(text(f"note: {note}", f"提示：{note}") for note in prepared.loaded.notes),
        *prepared.remarks,
        *(f"  {line}" for line in (*notes, *rows, *estimate, *prepared.outline)),
        *prepared.disclosure.lines(),
        *(engine.line() for engine in prepared.engines),
    ]
