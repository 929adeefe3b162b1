"""Whether an engine's environment works: its files, its versions, its torch, and the tool."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.engine import Engine, canonical
from swiftbox.engines.process_group import ProcessGroup, describe_exit
from swiftbox.engines.state import (
    MARKER,
    engine_folder,
    engine_named,
    engine_state,
    installed_versions,
    interpreter_path,
    read_marker,
    site_packages,
)
from swiftbox.files import write_json
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.security.children import child_environment

TIMEOUT_S = 300
"""Importing a large tool for the first time, from a slow disk, takes minutes."""

LAST_LINES = 6
SCRIPT = ".self-test.py"

REQUIRE_TORCH_BUILD = """
import sys, torch
if not getattr(torch.version, sys.argv[1], None):
    sys.exit(f"torch {torch.__version__} is not a build for {sys.argv[1]}")
"""


@dataclass(frozen=True)
class SelfTestResult:
    """The outcome of a self-test, with the command that repairs the engine."""

    ok: bool
    problem: str = ""
    cure: str = ""
    seconds: float = 0.0


def self_test(name: str) -> SelfTestResult:
    """Test an engine; a problem is recorded, so that the next install repairs it."""
    started = time.monotonic()
    engine, state = engine_named(name), engine_state(name)
    cure = f"swiftbox engines install {name}"
    if state.status == "absent":
        return SelfTestResult(False, text("not installed", "未安装"), cure)
    problem = state.reason
    marker = read_marker(state.folder)
    if not problem or marker.get("broken"):
        problem = find_problem(engine, str(marker.get("backend")))
        _record(state.folder, marker, problem)
    seconds = round(time.monotonic() - started, 1)
    return SelfTestResult(not problem, problem, cure if problem else "", seconds)


def _record(folder: Path, marker: Mapping[str, object], problem: str) -> None:
    rest = {key: value for key, value in marker.items() if key != "broken"}
    write_json(folder / MARKER, {**rest, "broken": problem} if problem else rest)


def find_problem(engine: Engine, backend: str) -> str:
    """Return what is wrong with an environment that looks complete; empty if nothing is."""
    folder = engine_folder(engine.name)
    versions = installed_versions(folder)
    for name, version in engine.pins(backend).items():
        if versions.get(name, "").partition("+")[0] != version.partition("+")[0]:
            return text(
                f"{name} is {versions.get(name) or 'missing'}, but {version} is required",
                f"{name} 为 {versions.get(name) or '缺失'}，需要 {version}",
            )
    damaged = damaged_packages(folder)
    if damaged:
        return _describe_damage(damaged)
    toolkit = BACKENDS[backend].toolkit
    if engine.torch and toolkit and (failure := _run(engine, REQUIRE_TORCH_BUILD, toolkit)):
        return failure
    return _run(engine, engine.selftest)


def _describe_damage(damaged: Mapping[str, str]) -> str:
    name, path = next(iter(damaged.items()))
    problem = text(
        f"{name} is damaged: {path} is missing or changed",
        f"{name} 已损坏：{path} 缺失或被改动",
    )
    others = len(damaged) - 1
    return problem + (text(f" (and {others} more)", f"（另有 {others} 个）") if others else "")


def damaged_packages(folder: Path) -> dict[str, str]:
    """Map each distribution with missing or resized files to one of these files."""
    packages = site_packages(folder)
    if packages is None:
        return {}
    damaged = {}
    for info in sorted(packages.glob("*.dist-info")):
        name = canonical(info.name.removesuffix(".dist-info").rpartition("-")[0])
        if not (info / "INSTALLER").is_file() or not (info / "RECORD").is_file():
            damaged[name] = f"{info.name}/RECORD"
            continue
        path = next(_damaged_files(packages, info / "RECORD"), None)
        if path is not None:
            damaged[name] = path
    return damaged


def _damaged_files(packages: Path, record: Path) -> Iterator[str]:
    with record.open(encoding="utf-8", newline="") as file:
        for path, _hash, size in csv.reader(file):
            if path.endswith(".pyc"):
                continue
            try:
                current = os.stat(packages / path).st_size
            except OSError:
                yield path
                continue
            if size and current != int(size):
                yield path


def _run(engine: Engine, source: str, *arguments: str) -> str:
    """Run Python code in the environment; return why it failed, empty if it did not."""
    folder = engine_folder(engine.name)
    script = folder / SCRIPT
    script.write_text(source, encoding="utf-8")
    deadline = time.monotonic() + TIMEOUT_S

    def on_line(_is_output: bool, line: str) -> None:
        if line.strip():
            process.last_lines.append(line)

    env = {**engine.environment(), **child_environment()}
    command = [str(script), *arguments]
    process = ProcessGroup(interpreter_path(folder), command, env, on_line, folder=folder)
    try:
        code = process.run(lambda: time.monotonic() > deadline)
    finally:
        script.unlink(missing_ok=True)
    if code == 0:
        return ""
    last_lines = "\n".join(list(process.last_lines)[-LAST_LINES:])
    if code is None:
        limit = duration(TIMEOUT_S)
        ending = (f"did not end within {limit}", f"在 {limit}内未结束")
    else:
        ending = describe_exit(code)
    return text(
        f"its self-test {ending[0]}\n{last_lines}", f"其自检{ending[1]}\n{last_lines}"
    ).rstrip()
