"""Is an engine's environment whole: its files, its versions, its torch, and the tool itself."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.engine import Engine, canonical
from swiftbox.engines.guarded import Guarded, how_it_ended
from swiftbox.engines.marker import (
    MARKER,
    find,
    folder_of,
    installed_in,
    packages_in,
    python_in,
    read_marker,
    state,
)
from swiftbox.files import write_json
from swiftbox.language import text

LONGEST_S = 300
"""Importing a large tool for the first time, from a slow disk, takes minutes."""

LAST_WORDS = 6
SCRIPT = ".self-test.py"

TORCH_IS_FOR = """
import sys, torch
if not getattr(torch.version, sys.argv[1], None):
    sys.exit(f"torch {torch.__version__} is not a build for {sys.argv[1]}")
"""


@dataclass(frozen=True)
class Verdict:
    """What a self-test found."""

    ok: bool
    problem: str = ""
    cure: str = ""
    seconds: float = 0.0


def self_test(name: str) -> Verdict:
    """Try an engine; what is wrong is remembered, so that an install mends it."""
    began = time.monotonic()
    engine, found = find(name), state(name)
    cure = f"swiftbox engines install {name}"
    if found.status == "absent":
        return Verdict(False, text("not installed", "未安装"), cure)
    problem = found.reason
    marker = read_marker(found.folder)
    if not problem or marker.get("broken"):
        problem = problem_of(engine, str(marker.get("backend")))
        _remember(found.folder, marker, problem)
    seconds = round(time.monotonic() - began, 1)
    return Verdict(not problem, problem, cure if problem else "", seconds)


def _remember(folder: Path, marker: Mapping[str, object], problem: str) -> None:
    kept = {key: value for key, value in marker.items() if key != "broken"}
    write_json(folder / MARKER, {**kept, "broken": problem} if problem else kept)


def problem_of(engine: Engine, backend: str) -> str:
    """Return what is wrong with an environment that seems whole; empty when nothing is."""
    folder = folder_of(engine.name)
    here = installed_in(folder)
    for name, version in engine.pins(backend).items():
        if here.get(name, "").partition("+")[0] != version.partition("+")[0]:
            return text(
                f"{name} is {here.get(name) or 'missing'}, and {version} is wanted",
                f"{name} 为 {here.get(name) or '缺失'}，需要 {version}",
            )
    damaged = damaged_in(folder)
    if damaged:
        name, path = next(iter(damaged.items()))
        more = text(f" (and {len(damaged) - 1} more)", f"（另有 {len(damaged) - 1} 个）")
        return text(
            f"{name} is damaged: {path} is missing or changed",
            f"{name} 已损坏：{path} 缺失或被改动",
        ) + (more if len(damaged) > 1 else "")
    toolkit = BACKENDS[backend].toolkit
    if engine.torch and toolkit and (said := _fails(engine, TORCH_IS_FOR, toolkit)):
        return said
    return _fails(engine, engine.selftest)


def damaged_in(folder: Path) -> dict[str, str]:
    """Return the distributions with files missing or of another size, each with one of them."""
    packages = packages_in(folder)
    if packages is None:
        return {}
    found = {}
    for info in sorted(packages.glob("*.dist-info")):
        name = canonical(info.name.removesuffix(".dist-info").rpartition("-")[0])
        if not (info / "INSTALLER").is_file() or not (info / "RECORD").is_file():
            found[name] = f"{info.name}/RECORD"
            continue
        wrong = next(_wrong_files(packages, info / "RECORD"), None)
        if wrong is not None:
            found[name] = wrong
    return found


def _wrong_files(packages: Path, record: Path) -> Iterator[str]:
    with record.open(encoding="utf-8", newline="") as file:
        for path, _hash, size in csv.reader(file):
            if path.endswith(".pyc"):
                continue
            try:
                now = os.stat(packages / path).st_size
            except OSError:
                yield path
                continue
            if size and now != int(size):
                yield path


def _fails(engine: Engine, source: str, *words: str) -> str:
    """Run Python in the environment; return its last words where it fails."""
    folder = folder_of(engine.name)
    script = folder / SCRIPT
    script.write_text(source, encoding="utf-8")
    until = time.monotonic() + LONGEST_S

    def hear(_is_output: bool, line: str) -> None:
        if line.strip():
            trying.last.append(line)

    trying = Guarded(
        python_in(folder), [str(script), *words], {**engine.environment(), **os.environ}, hear
    )
    try:
        code = trying.run(lambda: time.monotonic() > until)
    finally:
        script.unlink(missing_ok=True)
    if code == 0:
        return ""
    last = "\n".join(list(trying.last)[-LAST_WORDS:])
    if code is None:
        how = (f"did not end within {LONGEST_S} s", f"在 {LONGEST_S} 秒内未结束")
    else:
        how = how_it_ended(code)
    return text(f"its self-test {how[0]}\n{last}", f"其自检{how[1]}\n{last}").rstrip()
