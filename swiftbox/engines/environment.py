"""The environments of engines: told apart, entered, installed, tried and removed."""

from __future__ import annotations

from pathlib import Path

from swiftbox.engines.installing import install, remove
from swiftbox.engines.marker import State, find, folder_of, python_in, state
from swiftbox.engines.needs import disk_bytes, require, torch_is_large
from swiftbox.engines.self_test import Verdict, self_test
from swiftbox.errors import MachineError
from swiftbox.language import text

__all__ = [
    "State",
    "Verdict",
    "disk_bytes",
    "find",
    "folder_of",
    "install",
    "python_of",
    "remove",
    "require",
    "self_test",
    "state",
    "torch_is_large",
]


def python_of(name: str) -> Path:
    """Return the interpreter of an engine; raise MachineError when the engine is not whole."""
    found = state(name)
    if found.status == "installed":
        return python_in(found.folder)
    why = found.reason or text("it is not installed", "未安装")
    raise MachineError(
        text(f"engine {name}: {why}", f"引擎 {name}：{why}"),
        hint=f"swiftbox engines install {name}",
    )
