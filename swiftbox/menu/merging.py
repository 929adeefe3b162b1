"""The merge screen: the adapter of a run into its base, from the run or right after it."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from swiftbox import launch, run_folder
from swiftbox.config.merge import MergeConfig
from swiftbox.config.writing import scalar, write
from swiftbox.errors import UserError
from swiftbox.language import text
from swiftbox.menu import acting
from swiftbox.menu.ask import Back, complain, pause, say, select
from swiftbox.menu.form import Values, more
from swiftbox.tasks.load import Loaded, loads


@dataclass(frozen=True)
class Merging:
    """A merge being put together: its settings, and the file that they were saved as."""

    values: Values
    file: Path | None = None

    def loaded(self) -> Loaded:
        """Return the typed config; raise ConfigError with all that is wrong."""
        given = {"task": "merge", **self.values}
        return loads(
            "", source="menu", overrides=[f"{k}={json.dumps(v)}" for k, v in given.items()]
        )

    def yaml(self, name: Path) -> str:
        """Return the YAML for a file of that name."""
        loaded = self.loaded()
        header = [text(f"Run: swiftbox run {name}", f"运行：swiftbox run {name}")]
        return write(loaded.config, header=header, keys=loaded.asked)

    def default_name(self) -> str:
        """Return the file name that is proposed."""
        return f"merge-{Path(str(self.values['adapter'])).name.lower()}.yaml"

    def command(self) -> str:
        """Return the command line that does what the menu does."""
        name = self.default_name()
        settings = [f"{key}={scalar(value)}" for key, value in self.values.items()]
        made = shlex.join(["swiftbox", "new", "merge", "-o", name, *settings])
        return f"{made} && {shlex.join(['swiftbox', 'run', name])}"


def has_adapter(run: Path) -> bool:
    """Tell whether what a run made is an adapter, which can be merged."""
    return (run / run_folder.MODEL / "adapter_config.json").is_file()


def begin(run: Path) -> None:
    """Review and carry out the merge of a run's adapter; Back leaves."""
    draft = Merging({"adapter": shortest(run)})
    while True:
        runs = show(draft)
        first = [
            ("run", text("merge it", "开始合并")),
            ("detach", text("merge it in the background", "后台合并")),
        ]
        others = [
            ("more", text("change a setting", "修改设置")),
            ("save", text("save the YAML", "保存 YAML")),
            ("back", text("back", "返回")),
        ]
        chosen = select(text("And now?", "接下来？"), [*first, *others] if runs else others)
        if chosen == "back":
            raise Back
        try:
            if chosen == "more":
                draft = replace(draft, values=more(MergeConfig, draft.values), file=None)
                continue
            path = draft.file or acting.save_as(draft.default_name(), draft.yaml)
            draft = replace(draft, file=path)
            if chosen != "save":
                if acting.carry_out(path, detach=chosen == "detach") is not None:
                    pause()
                return
        except Back:
            continue
        except UserError as error:
            complain(error)


def shortest(run: Path) -> str:
    """Return a run's folder as it is named from here."""
    place, here = run.resolve(), Path.cwd()
    return os.path.relpath(place, here) if place.is_relative_to(here) else str(place)


def show(draft: Merging) -> bool:
    """Print YAML, reasons and command; tell whether it can be carried out."""
    try:
        loaded = draft.loaded()
        acting.show_yaml(draft.yaml(Path(draft.default_name())))
        prepared = launch.plan_of(loaded)
    except UserError as error:
        complain(error)
        return False
    for line in prepared.plan.remarks:
        say(line)
    for note in prepared.plan.notes:
        say(f"  {note.key}: {note.value}  # {note.why}")
    say(text("the same from the command line:", "等价的命令行：") + f" {draft.command()}")
    return True
