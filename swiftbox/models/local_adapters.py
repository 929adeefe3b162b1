"""Adapters that are already on this machine: results of runs, newest first, then folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.errors import RunError
from swiftbox.files import read_json
from swiftbox.models.adapters import ADAPTER_CONFIG
from swiftbox.models.cache_layouts import folders_in
from swiftbox.models.local import MAX_DEPTH, MAX_FOLDERS
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_plain


@dataclass(frozen=True)
class LocalAdapter:
    """One adapter: its run or folder as a config names it, base model, kind and creation time."""

    name: str
    folder: Path
    base_model: str
    kind: str
    created: float


def list_adapters() -> list[LocalAdapter]:
    """Return the adapters made by runs, newest first, then those below the current folder."""
    adapters = [_adapter_of_run(run.folder) for run in run_folder.runs() if has_adapter(run.folder)]
    known = {run.folder.resolve() for run in adapters}
    for folder in _below(Path.cwd()):
        if folder.resolve() not in known:
            is_run = has_adapter(folder)
            adapters.append(
                _adapter_of_run(folder) if is_run else _adapter_in_folder(folder, folder.name)
            )
    return adapters


def has_adapter(run: Path) -> bool:
    """Return whether a run's result is an adapter."""
    return (run / run_folder.MODEL / ADAPTER_CONFIG).is_file()


def _adapter_of_run(run: Path) -> LocalAdapter:
    adapter = _adapter_in_folder(run / run_folder.MODEL, run.name)
    base_model = _yaml_value("model", run / run_folder.ASKED) or _yaml_value(
        "model", run / run_folder.SETTLED
    )
    return LocalAdapter(
        run.name, run, base_model or adapter.base_model, adapter.kind, adapter.created
    )


def _adapter_in_folder(folder: Path, name: str) -> LocalAdapter:
    config = read_json(folder / ADAPTER_CONFIG)
    rank = f" r={config['r']}" if config.get("r") else ""
    created = (folder / ADAPTER_CONFIG).stat().st_mtime
    base_model = str(config.get("base_model_name_or_path") or "")
    return LocalAdapter(
        name, folder, base_model, f"{config.get('peft_type') or '?'}{rank}", created
    )


def _yaml_value(key: str, path: Path) -> str:
    """Return a value of a YAML file without parsing it, which is slow for many runs."""
    try:
        content = read_plain(path)
    except (OSError, RunError):
        return ""
    match = re.search(rf"^{key}: *(.+?) *(?: #.*)?$", content, re.MULTILINE)
    return match[1].strip("'\"") if match else ""


def _below(top: Path) -> Iterator[Path]:
    """Yield folders with an adapter and runs that made one; these are not searched further."""
    queue, remaining = [(top, 0)], MAX_FOLDERS
    while queue and remaining > 0:
        folder, depth = queue.pop(0)
        remaining -= 1
        is_run = (folder / run_folder.STATE).is_file()
        if (folder / ADAPTER_CONFIG).is_file() or (is_run and has_adapter(folder)):
            yield folder
        elif not is_run and depth < MAX_DEPTH:
            queue += [(inner, depth + 1) for inner in folders_in(folder)]
