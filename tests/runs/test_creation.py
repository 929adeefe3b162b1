"""A run folder appears with its record in one step, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swiftbox.errors import RunError
from swiftbox.files import file_lock
from swiftbox.language import home
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import STARTING, create, discard_unfinished, sweep_home
from swiftbox.runs.folder import find, runs, update_state

CREATOR = """
import sys
from pathlib import Path
from swiftbox.runs.creation import create
from swiftbox.runs.folder import update_state
def fill(folder):
    (folder / "asked.yaml").write_text("task: train")
    print("fills", flush=True)
    sys.stdin.read()
    update_state(folder, status="stopped")
create(Path(sys.argv[1]), fill)
"""
"""Stays in the middle of making a run folder until its standard input is closed."""


def creator(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "fills\n"
    return process


def fill(folder: Path) -> None:
    (folder / run_folder.ASKED).write_text("task: merge")
    update_state(folder, status="stopped")


def test_a_run_killed_while_it_is_made_leaves_nothing_and_takes_no_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with creator(folder) as process:
        process.kill()
    assert not folder.exists()
    assert list(runs()) == []
    assert create(folder, fill) == folder
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_run_deletes_what_killed_starts_of_other_names_left(tmp_path: Path) -> None:
    with creator(tmp_path / "other") as process:
        (tmp_path / ".mine.tmp-0123abcd").mkdir()
        (tmp_path / ".mine.tmp-0123abcd" / "notes.txt").touch()
        process.kill()
    create(tmp_path / "run", fill)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".mine.tmp-0123abcd", "run"]


def test_a_list_deletes_what_a_killed_start_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with creator(folder) as process:
        run_folder.register(folder)  # killed between the link and the rename
        assert list(runs()) == []
        assert len(list(tmp_path.iterdir())) == 1  # what a living process fills is left alone
        process.kill()
    assert list(runs()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_listed_from_the_moment_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    rename = Path.rename

    def rename_and_list(source: Path, target: Path) -> Path:
        assert list(runs()) == []  # a list made at this moment keeps the link to it
        renamed = rename(source, target)
        listed.extend(run.folder for run in runs())
        return renamed

    monkeypatch.setattr(Path, "rename", rename_and_list)
    folder = create(tmp_path / "run", fill)
    assert listed == [folder]


def test_an_empty_folder_of_the_user_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    inode = folder.stat().st_ino
    assert create(folder, fill) == folder
    assert folder.stat().st_ino == inode
    assert sorted(path.name for path in folder.iterdir()) == ["asked.yaml", "state.json"]


def test_an_unfinished_start_in_a_folder_of_the_user_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with creator(folder) as process:
        assert create(folder, fill) == tmp_path / "run-2"  # it is being filled
        process.kill()
    assert (folder / STARTING).exists()
    assert create(folder, fill) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["asked.yaml", "state.json"]
    assert find(str(folder)).status == "stopped"


def test_files_of_the_user_are_never_taken_for_an_unfinished_start(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / run_folder.ASKED).write_text("task: mine")
    assert create(folder, fill) == tmp_path / "run-2"
    (folder / STARTING).touch()
    (folder / "notes.txt").touch()
    assert create(folder, fill) == tmp_path / "run-3"
    assert (folder / run_folder.ASKED).read_text() == "task: mine"


@pytest.mark.parametrize("exists", [False, True])
def test_a_record_that_cannot_be_written_leaves_no_folder_behind(
    exists: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    if exists:
        folder.mkdir()

    def fail(new: Path) -> None:
        (new / run_folder.ASKED).write_text("task: merge")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        create(folder, fail)
    assert [path for path in tmp_path.rglob("*") if path != folder] == []
    assert folder.exists() == exists


def test_what_killed_processes_left_in_the_home_is_deleted() -> None:
    tokens = home() / "cache" / "tokens"
    tokens.mkdir(parents=True)
    for path in (home() / ".a.json.tmp-0123abcd", tokens / "dead.partial", tokens / "busy.partial"):
        path.touch()
    with file_lock(tokens / "busy.lock"):  # another process encodes these rows
        sweep_home()
    assert sorted(path.name for path in tokens.glob("*.partial")) == ["busy.partial"]
    assert not (home() / ".a.json.tmp-0123abcd").exists()


def test_nothing_is_deleted_through_a_link(tmp_path: Path) -> None:
    folder, outside = create(tmp_path / "run", fill), tmp_path / "outside"
    (outside / ".config").mkdir(parents=True)
    (outside / ".partial").touch()
    for name in (run_folder.WORK, run_folder.CHECKPOINTS):
        (folder / name).symlink_to(outside)
    discard_unfinished(folder)
    assert sorted(path.name for path in outside.iterdir()) == [".config", ".partial"]


def test_an_event_after_a_torn_line_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / run_folder.EVENTS).write_bytes(b'{"event": "note", "mess')
    run_folder.append_event(tmp_path, "failed", kind="crash")
    assert [event["event"] for event in run_folder.every_event(tmp_path)] == ["failed"]


def test_what_a_dead_process_left_half_written_is_deleted(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", fill)
    for name in (".model", "checkpoints/.partial", "work/.quantized", "work/measured"):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights").touch()
    (folder / ".state.json.tmp-0123abcd").touch()
    discard_unfinished(folder)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["asked.yaml", "state.json", "work/measured/weights"]
