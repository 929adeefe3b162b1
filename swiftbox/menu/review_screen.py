"""The review of every task: its YAML, what it would do and why, the same command, what to do."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from swiftbox.config.presets import presets
from swiftbox.engines.consent import install_missing
from swiftbox.errors import ConfigError, UserError
from swiftbox.language import text
from swiftbox.launch.prepare import Prepared, prepare_loaded
from swiftbox.menu.actions import carry_out, save_as, show_yaml
from swiftbox.menu.draft import Draft, command_of, default_name, of_file
from swiftbox.menu.form import more
from swiftbox.menu.questions import Back, complain, say, select, tell
from swiftbox.tasks.load import Loaded

Act = Callable[[Draft], Draft]


@dataclass(frozen=True)
class Extra:
    """Something that the review of one task offers besides; it returns the draft, changed or not.

    `place`: before running, after it, or after what every task has.
    """

    title: str
    act: Act
    place: Literal["first", "second", "last"] = "last"


def _no_extras(_draft: Draft, _prepared: Prepared | None) -> Sequence[Extra]:
    return ()


def _no_lines(_draft: Draft, _prepared: Prepared) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Screen:
    """What the review of one task has of its own: a small declaration."""

    run: tuple[str, str] = ("run it", "运行")
    detach: tuple[str, str] = ("run it in the background", "后台运行")
    lasts: bool = False
    """Whether it goes on until it is stopped: then the background is proposed."""
    either: tuple[str, ...] = ()
    """Fields of which one says what it is about: which one is asked first, then that alone."""
    without: tuple[str, ...] = ()
    """Fields that have actions of their own, and are left out of `change a setting`."""
    command: Callable[[Draft, Loaded], str] = command_of
    extras: Callable[[Draft, Prepared | None], Sequence[Extra]] = _no_extras
    lines: Callable[[Draft, Prepared], Sequence[str]] = _no_lines
    look: Callable[[Loaded], Prepared] = prepare_loaded
    """Plans it and checks what it names; raises UserError with what is wrong."""
    act: Callable[[Draft], None] | None = None
    """What takes the place of a run, with the terminal to itself; None: it is a run."""


RUN, DETACH, BACK = "run", "detach", "back"


def review(draft: Draft, screen: Screen) -> Path | None:
    """Show YAML, plan and command; do what is chosen until the user leaves, which raises Back.

    Returns the folder of the run once it was carried out to its end, or serves; None for one that
    was left in the background or did not end well.
    """
    while True:
        prepared = show(draft, screen)
        chosen = select(text("And now?", "接下来？"), _choices(draft, screen, prepared))
        if chosen == BACK:
            raise Back
        try:
            if chosen == RUN and screen.act is not None:
                screen.act(draft)
                continue
            if chosen in (RUN, DETACH):
                if prepared is not None:
                    install_engines(prepared)
                if draft.file is None or not draft.is_saved():
                    save(draft)
                prepared = prepare_loaded(draft.loaded(), previous=prepared)
                return carry_out(prepared, detach=chosen == DETACH, lasts=screen.lasts)
            draft = chosen(draft)
        except (Back, KeyboardInterrupt):  # Ctrl-C at a question, or while something works
            continue
        except UserError as error:
            complain(error)


def _choices(
    draft: Draft, screen: Screen, prepared: Prepared | None
) -> list[tuple[Act | str, str]]:
    """Return what can be done with a draft; one that cannot run can still be changed."""
    extras = screen.extras(draft, prepared)

    def placed(place: str) -> list[tuple[Act | str, str]]:
        return [(one.act, one.title) for one in extras if one.place == place]

    runs: list[tuple[Act | str, str]] = [(RUN, text(*screen.run))]
    if screen.act is None:
        runs.append((DETACH, text(*screen.detach)))
    return [
        *placed("first"),
        *((runs[::-1] if screen.lasts else runs) if prepared is not None else []),
        *placed("second"),
        (_changing(screen), text("change a setting", "修改设置")),
        (edit, text("edit the YAML in $EDITOR", "用 $EDITOR 编辑 YAML")),
        (_saving, text("save the YAML", "保存 YAML")),
        *placed("last"),
        (BACK, text("back", "返回")),
    ]


def _changing(screen: Screen) -> Act:
    def change(draft: Draft) -> Draft:
        changed = more(draft.model, draft.values, draft.machine, without=screen.without)
        return replace(draft, values=changed)

    return change


def _saving(draft: Draft) -> Draft:
    return replace(draft, file=save(draft))


def show(draft: Draft, screen: Screen) -> Prepared | None:
    """Print the review; return what was prepared, None when the draft cannot run as it is."""
    try:
        loaded = draft.loaded()
        show_yaml(draft.yaml())
        prepared = screen.look(loaded)
    except UserError as error:
        complain(error)
        return None
    for line in loaded.notes:
        tell(text(f"note: {line}", f"提示：{line}"))
    for line in prepared.remarks:
        tell(line)
    for note in prepared.plan.notes:
        tell(f"  {note.key}: {note.value}  # {note.why}")
    for line in _findings(prepared):
        tell(f"  {line}")
    for line in screen.lines(draft, prepared):
        tell(f"  {line}")
    for missing in prepared.engines:
        tell(missing.line())
    say(text("the same from the command line:", "等价的命令行："))
    for line in screen.command(draft, loaded).split(" && "):
        say(f"  {line}")
    return prepared


def _findings(prepared: Prepared) -> list[str]:
    """Return what the check of the rows found, and whether a training or a whole chain fits."""
    rows = prepared.rows.summary().splitlines() if prepared.rows is not None else []
    fit = prepared.estimate.lines() if prepared.estimate is not None else []
    return [*rows, *fit, *prepared.outline]


def install_engines(prepared: Prepared) -> None:
    """Install the engines that a run needs and that are not here, once that is agreed to.

    Raises Back where it is not; UserError where it cannot be done.
    """
    if not prepared.engines:
        return
    for one in prepared.engines:
        tell(one.line())
    names = ", ".join(one.engine.name for one in prepared.engines)
    agreed = [(True, text("install it now", "现在安装")), (False, text("not now", "暂不"))]
    if not select(text(f"Install {names}?", f"安装 {names}？"), agreed):
        raise Back
    try:
        install_missing(prepared.engines, lambda _missing: True)
    except KeyboardInterrupt:
        raise Back from None


def edit(draft: Draft) -> Draft:
    """Open the YAML in the user's editor; show all mistakes of what comes back, offer it again."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "draft.yaml"
        path.write_text(draft.yaml(), encoding="utf-8")
        while True:
            try:
                subprocess.run([*editor, str(path)], check=False)
            except FileNotFoundError:
                say(
                    text(
                        f"error: no editor {editor[0]}; set EDITOR",
                        f"error：找不到编辑器 {editor[0]}；请设置 EDITOR",
                    )
                )
                return draft
            try:
                return replace(_same_task(path, draft), file=None)
            except UserError as error:
                complain(error)
            again = [
                (True, text("edit again", "继续编辑")),
                (False, text("drop the changes", "放弃修改")),
            ]
            if not select(text("The YAML has mistakes", "YAML 有误"), again):
                return draft


def _same_task(path: Path, draft: Draft) -> Draft:
    found = of_file(path, draft.machine)
    if found.task is not draft.task:
        raise ConfigError(
            text(
                f"task: {found.task.name}: this screen is of task: {draft.task.name}",
                f"task：{found.task.name}：本页面的任务是 {draft.task.name}",
            ),
            hint=text("`swiftbox run FILE` carries out any", "`swiftbox run FILE` 可执行任意任务"),
        )
    return found


def save(draft: Draft) -> Path:
    """Write the YAML under a name of the user's."""
    proposed = str(draft.file or default_name(draft.loaded().config))
    if draft.file is not None and draft.file.parent == next(iter(presets().values())).parent:
        proposed = draft.file.name  # a preset stays as it is: the copy goes here
    return save_as(proposed, lambda path: replace(draft, file=path).yaml())
