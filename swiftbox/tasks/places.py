"""Where a new run reads and writes, checked before it starts: its folder and the state folder.

Asked once for a new config, like names.py: the folder of a recorded run exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from swiftbox.config.groups import DATASET_KEYS
from swiftbox.config.references import OutputReference, references_in
from swiftbox.config.task import TaskConfig
from swiftbox.errors import ConfigError, UserError, raise_together
from swiftbox.files import is_writable, reason_of
from swiftbox.language import home, text
from swiftbox.models.location import find_folder
from swiftbox.models.requirements import NOTE, Remark

SYSTEM_FOLDERS = tuple(map(Path, ("/proc", "/sys", "/dev")))
"""No run can be written here, whatever the permissions say."""

MAX_NAME_BYTES, MAX_PATH_BYTES = 200, 3500
"""Of a run folder: the names of the files in it come on top."""

SOURCES = ("model", "adapter", "teacher_model", "tuned_model", *DATASET_KEYS)
"""Settings that name folders which a run reads."""


def place_remarks(config: TaskConfig) -> list[Remark]:
    """Return remarks on the state folder; raise ConfigError for a run folder that is unusable."""
    errors: list[UserError] = [_without_steps(reference) for reference in _references(config)]
    folder, fault = _run_folder(config)
    fault = fault or _fault_of_folder(folder) or _fault_of_sources(config, folder)
    if fault:
        errors.append(_unusable(config, fault))
    raise_together(errors)
    return list(_home_remarks())


def _references(config: TaskConfig) -> Iterator[OutputReference]:
    """Yield the references to steps in a config that has none."""
    if config.task != "pipeline":
        for name in type(config).model_fields:
            yield from references_in(getattr(config, name))


def _run_folder(config: TaskConfig) -> tuple[Path, str]:
    """Return the folder that the run will be in, or be below; and why there is none."""
    if config.output_dir == "auto":
        return Path.cwd() / "runs", ""
    try:
        return Path(config.output_dir).expanduser().resolve(), ""
    except (OSError, RuntimeError) as error:  # links that lead to each other
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        return Path.cwd(), reason


def fault_of_place(folder: Path) -> str:
    """Return why a folder is not one for a run, whether it can be written or not."""
    user_home = Path(os.path.expanduser("~"))
    if folder in (user_home, *user_home.parents) or folder.parent == folder:
        return text(
            "it is a folder of everything, not of one run", "这是公共目录，不是单次运行的目录"
        )
    if any(folder.is_relative_to(system) for system in SYSTEM_FOLDERS):
        return text("it belongs to the system", "这是系统目录")
    is_long = len(os.fsencode(folder.name)) > MAX_NAME_BYTES
    if is_long or len(os.fsencode(folder)) > MAX_PATH_BYTES:
        return text("its name is too long", "名称过长")
    return ""


def _fault_of_folder(folder: Path) -> str:
    """Return why a run cannot be written into a folder; empty if it can."""
    if fault := fault_of_place(folder):
        return fault
    try:
        place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not place.is_dir():
            return text(f"{place} is not a folder", f"{place} 不是目录")
    except OSError as error:
        return reason_of(error)
    if not os.access(place, os.W_OK | os.X_OK):
        return text(f"{place} cannot be written", f"{place} 不可写")
    return ""


def _fault_of_sources(config: TaskConfig, folder: Path) -> str:
    """Return what the run would write into although it reads it; empty if nothing."""
    # With `auto` a model may be the current folder: runs/ in it changes nothing that is read.
    keys = DATASET_KEYS if config.output_dir == "auto" else SOURCES
    for key in keys:
        for name in _names(getattr(config, key, None)):
            source = find_folder(name) if key not in DATASET_KEYS else _existing_folder(name)
            if source is not None and folder.is_relative_to(source):
                return text(f"it is inside {key}: {name}", f"位于 {key}: {name} 之内")
    return ""


def _names(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        name = getattr(item, "path", item)
        if isinstance(name, str):
            yield name


def _existing_folder(name: str) -> Path | None:
    path = name.partition("#")[0]
    folder = Path(path).expanduser()
    return folder.resolve() if path and folder.is_dir() else None


def _home_remarks() -> Iterator[Remark]:
    """Yield a remark if the state folder cannot be written."""
    if not is_writable(home()):
        yield Remark(
            NOTE,
            "home",
            text(
                f"{home()} cannot be written: `swiftbox runs list` will not show this run, and its "
                "caches are kept in the run folder",
                f"{home()} 不可写：`swiftbox runs list` 不会列出本次运行，缓存保存在运行目录中",
            ),
            text("set SWIFTBOX_HOME to a writable folder", "请把 SWIFTBOX_HOME 设为可写的目录"),
        )


# ---- messages


def _unusable(config: TaskConfig, fault: str) -> ConfigError:
    where = config.output_dir if config.output_dir != "auto" else "runs/"
    return ConfigError(
        text(f"output_dir: {where}: {fault}", f"output_dir：{where}：{fault}"),
        hint=text(
            "give a new folder that you can write, such as output_dir: /data/runs/first",
            "请给出一个可写的新目录，例如 output_dir: /data/runs/first",
        ),
    )


def _without_steps(reference: OutputReference) -> ConfigError:
    return ConfigError(
        text(
            f"{reference} is the result of a step, and only a task: pipeline has steps",
            f"{reference} 指某个步骤的结果，只有 task: pipeline 才有步骤",
        ),
        hint=text(
            "give the file or folder itself, or write a pipeline",
            "请直接给出文件或目录，或改写为流水线",
        ),
    )
