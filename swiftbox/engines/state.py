"""What the files of an engine's environment say about it: installed, incomplete or absent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from swiftbox import engines
from swiftbox.devices.host import ENGINE
from swiftbox.engines.engine import Engine, canonical
from swiftbox.errors import MachineError
from swiftbox.files import read_json
from swiftbox.language import home, text

MARKER = ENGINE
"""Written last, after the self-test: if it exists, the install is complete."""

Status = Literal["installed", "incomplete", "absent"]


@dataclass(frozen=True)
class EngineState:
    """What is in the folder of an engine."""

    status: Status
    folder: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the pinned packages, by distribution name."""
    size_bytes: int = 0
    reason: str = ""
    """Why it is incomplete."""


def engine_named(name: str) -> Engine:
    """Return the row of an engine; raise MachineError for an unknown name."""
    engine = engines.ENGINES.get(name)
    if engine is None:
        raise MachineError(
            text(f"no engine named {name}", f"没有名为 {name} 的引擎"),
            hint=text(
                f"available: {', '.join(engines.ENGINES)}", f"可选：{', '.join(engines.ENGINES)}"
            ),
        )
    return engine


def engine_folder(name: str) -> Path:
    """Return the folder of an engine's environment."""
    return home().expanduser().absolute() / "engines" / name


def engine_python(name: str) -> Path:
    """Return the interpreter of an engine; raise MachineError if the engine is not installed."""
    state = engine_state(name)
    if state.status == "installed":
        return interpreter_path(state.folder)
    reason = state.reason or text("not installed", "未安装")
    raise MachineError(
        text(f"engine {name}: {reason}", f"引擎 {name}：{reason}"),
        hint=f"swiftbox engines install {name}",
    )


def interpreter_path(folder: Path) -> Path:
    """Return the path of an environment's interpreter."""
    return folder / "bin" / "python"


def site_packages(folder: Path) -> Path | None:
    """Return the site-packages folder of an environment; None if there is none."""
    return next(iter(sorted(folder.glob("lib/python3*/site-packages"))), None)


def read_marker(folder: Path) -> dict[str, Any]:
    """Return what the last complete install wrote; empty without one."""
    return read_json(folder / MARKER)


def installed_versions(folder: Path) -> dict[str, str]:
    """Return the versions of all distributions in an environment, by canonical name."""
    packages = site_packages(folder)
    if packages is None:
        return {}
    versions = {}
    with os.scandir(packages) as entries:
        for entry in entries:
            match = re.fullmatch(r"(.+)-([^-]+)\.dist-info", entry.name)
            if match:
                versions[canonical(match.group(1))] = match.group(2)
    return versions


def engine_state(name: str) -> EngineState:
    """Tell from its files alone whether an engine is installed; takes milliseconds."""
    engine = engine_named(name)
    folder = engine_folder(name)
    if not folder.is_dir() or not any(folder.iterdir()):
        return EngineState("absent", folder)
    marker = read_marker(folder)
    versions = installed_versions(folder)
    backend = str(marker.get("backend", ""))
    pins = engine.pins(backend) if backend else {}
    pinned = {package: versions[package] for package in pins if package in versions}
    size_bytes = int(marker.get("size_bytes", 0))
    reason = _incomplete_because(engine, folder, marker, versions)
    status: Status = "incomplete" if reason else "installed"
    return EngineState(status, folder, pinned, size_bytes, reason)


def _incomplete_because(
    engine: Engine, folder: Path, marker: Mapping[str, Any], versions: Mapping[str, str]
) -> str:
    """Return what differs from a complete install; empty if nothing does."""
    if not marker:
        return text("its install was not finished", "安装尚未完成")
    if not interpreter_path(folder).exists():
        return text("its Python no longer exists", "其 Python 已不存在")
    if marker.get("folder") != str(folder):
        return text(
            f"it was moved here from {marker.get('folder')}",
            f"它是从 {marker.get('folder')} 移来的",
        )
    if list(engine.requested(str(marker["backend"]))) != marker.get("wanted"):
        return text("it was installed with other pins", "它是按其他版本要求安装的")
    if marker.get("broken"):
        return text("its self-test failed", "自检失败") + f": {marker['broken']}"
    return _changed_package(marker.get("versions", {}), versions)


def _changed_package(before: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Name the first package that is missing or has another version than was installed."""
    for package, version in before.items():
        current = versions.get(package)
        if current is None:
            return text(f"{package} {version} is missing", f"缺少 {package} {version}")
        if current != version:
            return text(
                f"{package} is {current}, but {version} was installed",
                f"{package} 为 {current}，而安装的是 {version}",
            )
    return ""
