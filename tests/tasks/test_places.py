"""A state folder that cannot be written: said by the check, and the run keeps its caches itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from box import box

from swiftbox.files import is_writable
from swiftbox.tasks.load import loads
from swiftbox.tasks.places import place_remarks


@pytest.fixture
def blocked_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state folder that cannot exist: a file is in its path."""
    (tmp_path / "file").touch()
    blocked = tmp_path / "file" / "state"
    monkeypatch.setenv("SWIFTBOX_HOME", str(blocked))
    return blocked


def test_a_state_folder_that_cannot_be_written_is_a_remark(blocked_home: Path) -> None:
    config = loads("model: m\ndataset: d.jsonl\n", source="a.yaml").config
    (remark,) = place_remarks(config)
    assert f"{blocked_home} cannot be written" in remark.message
    assert "SWIFTBOX_HOME" in remark.hint


def test_a_folder_is_writable_if_it_can_be_made(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    assert not is_writable(tmp_path / "file")
    assert not is_writable(tmp_path / "file" / "below")


@pytest.mark.slow
def test_a_run_without_a_state_folder_keeps_its_caches(
    blocked_home: Path, tiny: Path, chat_file: Path, tmp_path: Path
) -> None:
    settings = {"hub": "local", "max_steps": 1, "max_length": 64, "report_to": "none"}
    lines = [f"model: {tiny}", f"dataset: {chat_file}", *(f"{k}: {v}" for k, v in settings.items())]
    (tmp_path / "a.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ended = box("run", "a.yaml", "output_dir=r", "--plain", cwd=tmp_path)
    assert f"{blocked_home} cannot be written" in ended.stderr
    assert list((tmp_path / "r" / "cache").rglob("*.arrow"))
    assert os.listdir(tmp_path / "r" / "model")
