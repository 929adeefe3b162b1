"""Paths that may not be read or written: one error with the path and a hint, exit code 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prose_laws import CHINESE

from swiftbox.cli.main import main
from swiftbox.cli.output import WRONG
from swiftbox.errors import UserError
from swiftbox.files import explain_refused_paths

YAML = "model: Qwen/Qwen3-0.6B\ndataset: rows.jsonl\nhub: local\n"

NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
"""Makes permissions count for root too."""


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder in the current one that nobody may look into."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may read every folder, and setpriv is not installed")
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(YAML, encoding="utf-8")
    folder = tmp_path / "secret"
    folder.mkdir()
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "a.yaml", "model=secret"],
        ["check", "a.yaml", "adapter=secret"],
        ["check", "secret/a.yaml"],
        ["chat", "secret"],
        ["runs", "show", "secret"],
        ["new", "sft-lora", "-o", "secret/a.yaml"],
        ["demo", "--folder", "secret/d"],
    ],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_read_is_one_error(secret: Path, arguments: list[str]) -> None:
    prefix = NO_CAPABILITIES if os.geteuid() == 0 else ()
    command = [*prefix, sys.executable, "-m", "swiftbox", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    error, hint = finished.stderr.splitlines()[-2:]
    assert finished.returncode == WRONG
    assert error.startswith("error: ")
    assert secret.name in error
    assert "permission denied" in error
    assert "Errno" not in error
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_folder_below_a_file_is_refused(
    language: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    (tmp_path / "a.txt").touch()
    assert main(["demo", "--folder", str(tmp_path / "a.txt" / "d")]) == WRONG
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert str(tmp_path / "a.txt" / "d") in error
    assert str(tmp_path / "a.txt") in hint
    assert bool(CHINESE.search(error)) == (language == "zh")


def test_an_error_without_a_path_of_the_user_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explain_refused_paths():
        raise PermissionError(1, "no path")
    with pytest.raises(FileNotFoundError), explain_refused_paths():
        (tmp_path / "absent").read_text(encoding="utf-8")
    with pytest.raises(UserError), explain_refused_paths():
        raise PermissionError(13, "Permission denied", str(tmp_path / "a"))


def test_a_folder_in_place_of_a_yaml_is_refused_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path)]) == WRONG
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {tmp_path}: cannot be read (it is a folder)"
    assert hint == "hint: give a YAML file in UTF-8"
