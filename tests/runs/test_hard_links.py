"""A file of a run folder with other names is not changed under those names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftbox.runs import folder as run_folder
from swiftbox.runs.folder import EVENTS, LOG, append_event
from swiftbox.runs.plain_files import open_plain
from swiftbox.runs.stop import STOP_FILE, request_stop


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A file of the user outside the run folder."""
    file = tmp_path / "profile"
    file.write_text("mine\n", "utf-8")
    file.chmod(0o644)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_log_that_is_a_file_elsewhere_is_copied_before_it_is_written(
    folder: Path, profile: Path
) -> None:
    os.link(profile, folder / LOG)
    with open_plain(folder / LOG, "ab") as log:
        log.write(b"more\n")
    assert profile.read_text("utf-8") == "mine\n"
    assert (folder / LOG).read_text("utf-8") == "mine\nmore\n"
    assert sorted(path.name for path in folder.iterdir()) == [LOG]


def test_events_that_are_those_of_a_backup_are_copied_before_one_is_added(
    folder: Path, tmp_path: Path
) -> None:
    append_event(folder, "note", message="a")
    backup = tmp_path / "backup"
    os.link(folder / EVENTS, backup)
    before = backup.read_bytes()
    append_event(folder, "note", message="b")
    assert backup.read_bytes() == before
    assert [event["message"] for event in run_folder.every_event(folder)] == ["a", "b"]


def test_a_stop_request_changes_no_file_elsewhere(folder: Path, profile: Path) -> None:
    os.link(profile, folder / STOP_FILE)
    request_stop(folder)
    assert profile.read_text("utf-8") == "mine\n"
