"""The training screens: where to start from, the form, the review, and what to do with it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox import launch
from swiftbox.config.fields import cards
from swiftbox.config.train import TrainConfig
from swiftbox.config.writing import scalar, write
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu import acting, merging
from swiftbox.menu.acting import save_as, show_yaml
from swiftbox.menu.ask import Back, complain, forget_typed, pause, say, select
from swiftbox.menu.form import Values, fill, more, unknown
from swiftbox.menu.goals import GOALS, Goal
from swiftbox.offers import MachineNow
from swiftbox.presets import presets
from swiftbox.tasks.load import Loaded, load, loads, of_training
from swiftbox.tasks.train import TRAIN


@dataclass(frozen=True)
class Draft:
    """A training being put together: its class, what was chosen, the file it came from."""

    model: type[TrainConfig]
    values: Values
    file: Path | None = None
    machine: MachineNow = field(default=unknown, compare=False)
    """Tells what this machine is once it is known, for what fits."""

    def loaded(self) -> Loaded:
        """Return the typed config; raise ConfigError with all that is wrong."""
        given = {"stage": stage_of(self.model), **self.values}
        overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
        return loads("", source="menu", overrides=overrides)

    def yaml(self) -> str:
        """Return the YAML of what was chosen."""
        loaded = self.loaded()
        name = self.file or Path(default_name(of_training(loaded.config)))
        header = [text(f"Run: swiftbox run {name}", f"运行：swiftbox run {name}")]
        return write(loaded.config, header=header, keys=loaded.asked)


def stage_of(model: type[TrainConfig]) -> str:
    """Return the stage of a config class."""
    return str(model.model_fields["stage"].default)


def default_name(config: TrainConfig) -> str:
    """Return the file name that a config is saved under."""
    values: dict[str, Any] = config.model_dump()
    return f"{values['stage']}-{config.tuner_type}-{Path(config.model).name.lower()}.yaml"


def begin(probe: Any) -> None:
    """Go through a training; Back at the first question returns home."""
    while True:
        draft = replace(start_from(), machine=probe.now)
        try:
            if draft.file is None:
                draft = replace(draft, values=fill(draft.model, draft.values, draft.machine))
            probe.result()  # the devices are known from here on, or the reason why not
            review(draft)
        except Back:
            continue
        return


def start_from() -> Draft:
    """Let the goal be chosen, or a YAML to start from."""
    choices: list[tuple[Any, str]] = [(("new", goal), goal.title) for goal in GOALS]
    for path in sorted(Path.cwd().glob("*.yaml")):
        choices.append((("file", path), text(f"file {path.name}", f"文件 {path.name}")))
    for name, path in presets().items():
        if name.split("-")[0] in TRAIN.choices:
            choices.append((("file", path), text(f"preset {name}", f"预设 {name}")))
    while True:
        kind, chosen = select(text("What is to be learned?", "要训练什么？"), choices)
        if kind != "new":
            return of_file(chosen)
        try:
            return Draft(TRAIN.choices[method_for(chosen)], dict(chosen.values))
        except Back:
            continue


def method_for(goal: Goal) -> str:
    """Ask for the method where several lead to the goal."""
    if len(goal.stages) == 1:
        return goal.stages[0]
    titles = []
    for name in goal.stages:
        stage = next(card for card in cards(TRAIN.choices[name]) if card.name == "stage")
        titles.append((name, stage.help))
    return str(select(text("By which method?", "用哪种方法？"), titles))


def of_file(path: Path) -> Draft:
    """Return the draft of a YAML; its settings are what the file gives."""
    loaded = load(path)
    values = loaded.config.model_dump(mode="json", include=set(loaded.asked))
    kept = {key: value for key, value in values.items() if key not in ("version", "task", "stage")}
    return Draft(type(of_training(loaded.config)), kept, path)


def review(draft: Draft) -> None:
    """Show plan, YAML and command; do what is chosen until the user leaves."""
    while True:
        prepared = show(draft)
        runs = prepared is not None
        cure = prepared.fit.proposal if prepared and prepared.fit else None
        actions = [
            ("run", text("run it", "运行")),
            ("detach", text("run it in the background", "后台运行")),
        ]
        others = [
            ("more", text("change a setting", "修改设置")),
            ("edit", text("edit the YAML in $EDITOR", "用 $EDITOR 编辑 YAML")),
            ("save", text("save the YAML", "保存 YAML")),
            ("preview", text("see three rows as the model does", "查看模型实际看到的三条样本")),
            ("back", text("back", "返回")),
        ]
        if cure is not None:
            fitting = text(f"make it fit: {cure.settings()}", f"使其放得下：{cure.settings()}")
            actions.insert(0, ("fit", fitting))
        chosen = select(text("And now?", "接下来？"), [*actions, *others] if runs else others)
        if chosen == "back":
            raise Back
        try:
            if chosen == "fit" and cure is not None:
                draft = replace(draft, values={**draft.values, **cure.changes}, file=None)
            elif chosen == "more":
                draft = replace(draft, values=more(draft.model, draft.values, draft.machine))
            elif chosen == "edit":
                draft = edit(draft)
            elif chosen == "save":
                draft = replace(draft, file=save(draft))
            elif chosen == "preview":
                preview(draft)
            else:
                carry_out(draft, detach=chosen == "detach")
                return
        except Back:
            continue
        except UserError as error:
            complain(error)


def show(draft: Draft) -> launch.Prepared | None:
    """Print the review; return what was prepared, None when the draft cannot run as it is."""
    try:
        loaded = draft.loaded()
        show_yaml(draft.yaml())
        prepared = launch.plan_of(loaded)
    except UserError as error:
        complain(error)
        return None
    for line in loaded.notes:
        say(text(f"note: {line}", f"提示：{line}"))
    for line in prepared.plan.remarks:
        say(line)
    for note in prepared.plan.notes:
        say(f"  {note.key}: {note.value}  # {note.why}")
    if prepared.rows is not None:
        for line in prepared.rows.summary().splitlines():
            say(f"  {line}")
    if prepared.fit is not None:
        for line in prepared.fit.lines():
            say(f"  {line}")
    say(text("the same from the command line:", "等价的命令行：") + f" {command_of(draft, loaded)}")
    return prepared


def preview(draft: Draft) -> None:
    """Show three rows with the learned tokens marked, and how long the rows are."""
    from swiftbox.preview import show as show_rows

    show_rows(of_training(draft.loaded().config))
    pause()


def command_of(draft: Draft, loaded: Loaded) -> str:
    """Return the command line that does what the menu does."""
    if draft.file is not None and same_as_file(draft):
        return f"swiftbox run {shlex.quote(str(draft.file))}"
    name = shlex.quote(default_name(of_training(loaded.config)))
    wanted = loaded.config.model_dump(mode="json")
    preset = nearest_preset(wanted)
    given = load(presets()[preset]).config.model_dump(mode="json")
    settings = [
        shlex.quote(f"{key}={scalar(value)}")
        for key, value in wanted.items()
        if given[key] != value
    ]
    return f"swiftbox new {preset} -o {name} {' '.join(settings)} && swiftbox run {name}"


def nearest_preset(wanted: Values) -> str:
    """Return the preset of the stage and the tuner, else of the stage, whatever the tuner."""
    known = presets()
    exact = f"{wanted['stage']}-{wanted['tuner_type']}"
    alike = [name for name in known if name.split("-")[0] == wanted["stage"]]
    return exact if exact in known else alike[0]


def same_as_file(draft: Draft) -> bool:
    """Tell whether nothing was changed since the draft's file was read."""
    try:
        return draft.file is not None and of_file(draft.file).loaded() == draft.loaded()
    except UserError:
        return False


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
                return replace(of_file(path), file=None, machine=draft.machine)
            except UserError as error:
                complain(error)
            again = [
                (True, text("edit again", "继续编辑")),
                (False, text("drop the changes", "放弃修改")),
            ]
            if not select(text("The YAML has mistakes", "YAML 有误"), again):
                return draft


def save(draft: Draft) -> Path:
    """Write the YAML under a name of the user's."""
    proposed = str(draft.file or default_name(of_training(draft.loaded().config)))
    if draft.file is not None and draft.file.parent == next(iter(presets().values())).parent:
        proposed = draft.file.name  # a preset stays as it is: the copy goes here
    return save_as(proposed, lambda path: replace(draft, file=path).yaml())


def carry_out(draft: Draft, *, detach: bool) -> None:
    """Save the YAML where it is new, and run it as the command line does."""
    path = draft.file if draft.file is not None and same_as_file(draft) else save(draft)
    done = acting.carry_out(path, detach=detach)
    if done is not None:
        next_step(done)


def next_step(run: Path) -> None:
    """Offer what usually follows a training, its YAML filled in."""
    forget_typed()
    if not merging.has_adapter(run):
        pause()
        return
    actions = [
        (None, text("back", "返回")),
        ("merge", text("merge the adapter into its base", "将适配器合并进基座")),
    ]
    if select(text("Done. And now?", "已完成。接下来？"), actions) == "merge":
        merging.begin(run)
