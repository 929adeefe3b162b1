"""Adapters that are on this machine already: results of runs, newest first, then folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.files import read_json
from swiftbox.models.adapters import ADAPTER_CONFIG
from swiftbox.models.cache_layouts import folders_in
from swiftbox.models.local import DEEPEST, MOST_FOLDERS
from swiftbox.runs import folder as run_folder


@dataclass(frozen=True)
class LocalAdapter:
    """One adapter: the run or the folder that a config names, its base, its kind, its time."""

    name: str
    folder: Path
    base: str
    kind: str
    created: float


def list_adapters() -> list[LocalAdapter]:
    """Return what runs made, newest first, then the adapters in and below the current folder."""
    found = [_of_run(one.folder) for one in run_folder.runs() if has_adapter(one.folder)]
    known = {one.folder.resolve() for one in found}
    for folder in _below(Path.cwd()):
        if folder.resolve() not in known:
            of_run = has_adapter(folder)
            found.append(_of_run(folder) if of_run else _of_folder(folder, folder.name))
    return found


def has_adapter(run: Path) -> bool:
    """Tell whether what a run made is an adapter."""
    return (run / run_folder.MODEL / ADAPTER_CONFIG).is_file()


def _of_run(run: Path) -> LocalAdapter:
    said = _of_folder(run / run_folder.MODEL, run.name)
    base = _line("model", run / run_folder.ASKED) or _line("model", run / run_folder.SETTLED)
    return LocalAdapter(run.name, run, base or said.base, said.kind, said.created)


def _of_folder(folder: Path, name: str) -> LocalAdapter:
    said = read_json(folder / ADAPTER_CONFIG)
    rank = f" r={said['r']}" if said.get("r") else ""
    made = (folder / ADAPTER_CONFIG).stat().st_mtime
    base = str(said.get("base_model_name_or_path") or "")
    return LocalAdapter(name, folder, base, f"{said.get('peft_type') or '?'}{rank}", made)


def _line(key: str, path: Path) -> str:
    """Return a value of a YAML without reading it whole: a list of runs is long."""
    try:
        written = path.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{key}: *(.+?) *(?: #.*)?$", written, re.MULTILINE)
    return found[1].strip("'\"") if found else ""


def _below(top: Path) -> Iterator[Path]:
    """Yield folders with an adapter, and runs that made one; nothing further inside those."""
    waiting, left = [(top, 0)], MOST_FOLDERS
    while waiting and left > 0:
        folder, depth = waiting.pop(0)
        left -= 1
        is_run = (folder / run_folder.STATE).is_file()
        if (folder / ADAPTER_CONFIG).is_file() or (is_run and has_adapter(folder)):
            yield folder
        elif not is_run and depth < DEEPEST:
            waiting += [(inner, depth + 1) for inner in folders_in(folder)]
