"""Hashes of the releases that engines pin: pip refuses other bytes of the same name and version.

lock.txt has the format of pip's requirement files, one release per line with the sha256 of each of
its wheels and source packages; scripts/lock writes it. Not in it: torch and its plugins, whose
builds differ by index, and what the pinned packages depend on, which pip chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from swiftbox.engines.engine import Engine, canonical
from swiftbox.formatting import counted
from swiftbox.language import text

LOCK = Path(__file__).with_name("lock.txt")

CHECKED = ("--no-deps", "--require-hashes")
"""The options with which pip installs locked releases, before it adds their dependencies."""


def locked_lines(requirements: Iterable[str]) -> list[str]:
    """Return the lines of the lock for those of the requirements that it holds."""
    lock = read_lock()
    return [lock[release_of(item)] for item in requirements if release_of(item) in lock]


def read_lock() -> Mapping[str, str]:
    """Map each locked release to its line."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    return {release_of(line.partition(" ")[0]): line for line in entries}


def release_of(requirement: str) -> str:
    """Return a pinned requirement with its name in canonical form, without extras.

    `lm-eval[api]==0.4` -> `lm_eval==0.4`.
    """
    name, pin, version = requirement.partition("==")
    return f"{canonical(name.partition('[')[0])}{pin}{version}"


def coverage(engine: Engine, backend: str) -> str:
    """Say which packages of an install are checked by hash, and which are not."""
    count = len(locked_lines(engine.requested(backend)))
    checked = text(
        f"checked by sha256: {counted(count, 'pinned package')}",
        f"按 sha256 核对：固定版本的 {count} 个包",
    )
    torch = text("torch, ", "torch、") if engine.torch else ""
    return checked + text(
        f"; not checked: {torch}the packages that these depend on",
        f"；未核对：{torch}这些包的依赖",
    )
