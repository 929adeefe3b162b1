"""Torch and secret indexes in an engine's install: the right index, pinned, never printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_engine import TOY

from swiftbox import engines
from swiftbox.engines import install as installer
from swiftbox.engines import pip
from swiftbox.engines.install import install
from swiftbox.engines.preconditions import TORCH_INDEX
from swiftbox.engines.state import MARKER, interpreter_path
from swiftbox.errors import MachineError
from swiftbox.files import read_json


def no_output(line: str) -> None:
    raise AssertionError(line)


def _bare(_python: str, folder: Path) -> None:
    """Stand in for venv: an environment without packages."""
    (folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    interpreter_path(folder).touch()


def test_torch_comes_first_from_its_own_index_and_stays_pinned(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installs: list[tuple[tuple[str, ...], str | None]] = []

    def record(_folder: Path, arguments: tuple[str, ...], _say: object, **options: Any) -> None:
        variables: dict[str, str] = options.get("variables") or {}
        installs.append((arguments, variables.get("PIP_INDEX_URL")))

    monkeypatch.setattr(installer, "pip_install", record)
    monkeypatch.setattr(installer, "find_problem", lambda _engine, _backend: "")
    monkeypatch.setattr(installer, "_create_venv", _bare)
    monkeypatch.setenv(TORCH_INDEX, "https://example.org/wheels")
    heavy = replace(TOY, torch="2.13.0")
    monkeypatch.setitem(engines.ENGINES, "toy", heavy)  # type: ignore[arg-type]
    install("toy", "npu", say=lambda _line: None)
    plugin = ("torch==2.13.0", "torch-npu==2.13.0", "decorator")
    assert installs == [
        (("torch==2.13.0",), "https://example.org/wheels"),
        ((*plugin, "toy==1.0"), None),
        ((*plugin, "toy==1.0", "late==1.0", "--no-build-isolation"), None),
    ]
    assert read_json(fresh / MARKER)["backend"] == "npu"


def test_rocm_needs_its_own_index(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TORCH_INDEX, raising=False)
    heavy = replace(TOY, torch="2.13.0")
    monkeypatch.setitem(engines.ENGINES, "toy", heavy)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="SWIFTBOX_TORCH_INDEX"):
        install("toy", "rocm", say=no_output)
    assert not fresh.exists()


def test_the_password_of_an_index_is_in_no_command_line_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$PIP_INDEX_URL|$*" > {seen}\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(pip, "interpreter_path", lambda folder: folder / "bin" / "python")
    with pytest.raises(MachineError) as raised:
        pip.pip_install(
            *(tmp_path, ("torch",), no_output),
            temporary=tmp_path,
            variables={"PIP_INDEX_URL": "https://bob:pa55@host"},
        )
    variable, _, arguments = seen.read_text().partition("|")
    assert variable == "https://bob:pa55@host"
    assert "pa55" not in arguments
    assert "pa55" not in raised.value.message
