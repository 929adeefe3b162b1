"""The run folder of a new launch: a new one, or an earlier one whose finished steps are kept."""

from __future__ import annotations

import time
from pathlib import Path

from swiftbox.config.task import TaskConfig
from swiftbox.errors import RunError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_plain
from swiftbox.security.paths import file_name, inside
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import Loaded, loads


def output_folder(config: TaskConfig) -> Path:
    """Return the folder that a config asks for; for `auto` one below runs/ in this folder."""
    if config.output_dir != "auto":
        return Path(config.output_dir).expanduser().resolve()
    title = file_name(TASKS[config.task].run_name(config))
    stamp = time.strftime("%Y%m%d-%H%M%S")
    # `runs` may be a link to another disk.
    return inside(Path.cwd() / "runs", f"{stamp}-{title}", source="runs", error=RunError)


def continued_folder(config: TaskConfig) -> Path | None:
    """Return the folder of an earlier run whose finished steps are kept; None for a new one."""
    if config.output_dir == "auto" or not TASKS[config.task].continues:
        return None
    folder = output_folder(config)
    if not (folder / run_folder.SETTLED).is_file():
        return None
    return folder if settled_in(folder).config.task == config.task else None


def settled_in(folder: Path, overrides: tuple[str, ...] = ()) -> Loaded:
    """Read the settled config of a run folder, never through a link; raise UserError."""
    try:
        content = read_plain(folder / run_folder.SETTLED)
    except OSError as error:
        file, reason = folder / run_folder.SETTLED, reason_of(error)
        raise RunError(
            text(f"{file}: cannot be read ({reason})", f"{file}：无法读取（{reason}）"),
            hint=text("`swiftbox runs list` shows the runs", "`swiftbox runs list` 列出全部运行"),
        ) from None
    return loads(content, source=run_folder.SETTLED, overrides=overrides)
