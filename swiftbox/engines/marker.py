"""What the files of an engine's environment say of it: whole, unfinished or not there; fast."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import swiftbox.engines as table
from swiftbox.devices.host import ENGINE
from swiftbox.engines.engine import Engine, canonical
from swiftbox.errors import MachineError
from swiftbox.language import home, text

MARKER = ENGINE
"""Written last, after the self-test: its presence says that all else is there."""

Status = Literal["installed", "incomplete", "absent"]


@dataclass(frozen=True)
class State:
    """What stands in the folder of an engine."""

    status: Status
    folder: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    """The versions of what was asked for by name, by distribution."""
    size_bytes: int = 0
    reason: str = ""
    """Why it is incomplete."""


def find(name: str) -> Engine:
    """Return the row of an engine; raise MachineError for a name without one."""
    found = table.ENGINES.get(name)
    if found is None:
        raise MachineError(
            text(f"no engine named {name}", f"没有名为 {name} 的引擎"),
            hint=text(
                f"there are: {', '.join(table.ENGINES)}", f"可选：{', '.join(table.ENGINES)}"
            ),
        )
    return found


def folder_of(name: str) -> Path:
    """Return the folder of an engine's environment."""
    return home().expanduser().absolute() / "engines" / name


def python_in(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "bin" / "python"


def packages_in(folder: Path) -> Path | None:
    """Return the folder of an environment's packages; None where there is none."""
    return next(iter(sorted(folder.glob("lib/python3*/site-packages"))), None)


def read_marker(folder: Path) -> dict[str, Any]:
    """Return what the last finished install wrote; empty without one."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def installed_in(folder: Path) -> dict[str, str]:
    """Return the versions of all distributions in an environment, by canonical name."""
    packages = packages_in(folder)
    if packages is None:
        return {}
    found = {}
    with os.scandir(packages) as entries:
        for one in entries:
            match = re.fullmatch(r"(.+)-([^-]+)\.dist-info", one.name)
            if match:
                found[canonical(match.group(1))] = match.group(2)
    return found


def state(name: str) -> State:
    """Tell from its files alone whether an engine is whole."""
    engine = find(name)
    folder = folder_of(name)
    if not folder.is_dir() or not any(folder.iterdir()):
        return State("absent", folder)
    marker = read_marker(folder)
    here = installed_in(folder)
    asked = _named(engine, str(marker.get("backend", "")), here)
    size = int(marker.get("size_bytes", 0))
    reason = _lacking(engine, folder, marker, here)
    return State("incomplete" if reason else "installed", folder, asked, size, reason)


def _named(engine: Engine, backend: str, here: Mapping[str, str]) -> dict[str, str]:
    pins = engine.pins(backend) if backend else {}
    return {name: here[name] for name in pins if name in here}


def _lacking(
    engine: Engine, folder: Path, marker: Mapping[str, Any], here: Mapping[str, str]
) -> str:
    """Return what is not as a finished install left it; empty when all is."""
    if not marker:
        return text("its install was not finished", "安装尚未完成")
    if not python_in(folder).exists():
        return text("its Python is gone", "其 Python 已不存在")
    if marker.get("folder") != str(folder):
        return text(
            f"it was moved here from {marker.get('folder')}",
            f"它是从 {marker.get('folder')} 移来的",
        )
    if list(engine.wanted(str(marker["backend"]))) != marker.get("wanted"):
        return text("it was installed for other pins", "它是按其他版本要求安装的")
    if marker.get("broken"):
        return text("its self-test failed", "自检失败") + f": {marker['broken']}"
    before: Mapping[str, str] = marker.get("versions", {})
    for name, version in before.items():
        now = here.get(name)
        if now is None:
            return text(f"{name} {version} is missing", f"缺少 {name} {version}")
        if now != version:
            return text(
                f"{name} is {now}, and {version} was installed",
                f"{name} 为 {now}，而安装的是 {version}",
            )
    return ""
