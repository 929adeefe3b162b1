"""Files that survive interruption: atomic writes, JSON, locks between processes, disk space."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swiftbox.errors import MachineError
from swiftbox.files import (
    LockedError,
    file_lock,
    free_bytes,
    is_temporary_of,
    named_lock,
    read_json,
    require_room,
    sweep,
    sweep_below,
    sync_folder,
    write_atomic,
    write_json,
)
from swiftbox.formatting import size
from swiftbox.language import home

WRITER = """
import os, signal, sys
from pathlib import Path
from swiftbox import files
path = Path(sys.argv[1])
if sys.argv[2] == "folder":
    with files.folder_aside(path) as aside:
        (aside / "part").write_text("a")
        print("writes", flush=True)
        sys.stdin.read()
else:
    files.os.fsync = lambda _: (print("writes", flush=True), sys.stdin.read())
    files.write_atomic(path, "new")
"""
"""Stays in the middle of writing a file or a folder until its standard input is closed."""


def writer(path: Path, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    return process


HOLDER = """
import sys
from pathlib import Path
from swiftbox.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
"""Holds a lock in another process until its standard input is closed, or it is killed."""


def holder(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_write_replaces_the_content_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    write_atomic(path, "新")
    assert path.read_text("utf-8") == "新"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_deleted_when_the_same_path_is_written(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    with writer(path, kind) as process:
        process.kill()
    assert [is_temporary_of(entry.name, "a") for entry in tmp_path.iterdir()] == [True]
    write_atomic(path, "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_living_process_writes_is_not_swept(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with writer(path, kind) as process:
        temporaries = list(tmp_path.iterdir())
        sweep(tmp_path)
        sweep_below(tmp_path.parent)
        assert list(tmp_path.iterdir()) == temporaries
        process.communicate()
    assert list(tmp_path.iterdir()) == ([path] if kind == "file" else [])


def test_files_of_others_and_links_are_not_swept(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / ".link.tmp-0123abcd").symlink_to(tmp_path / "target")
    for name in (
        ".tmp-0123abcd",
        "a.tmp-0123abcd",
        ".a.tmp-0123abcg",
        ".a.tmp-01",
        f".a.{os.getpid()}",
    ):
        (tmp_path / name).touch()
    before = sorted(tmp_path.iterdir())
    sweep_below(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_name_their_dead_writer_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f".state.json.{dead.pid}").touch()
    sweep_below(tmp_path)
    assert list((tmp_path / "deep").iterdir()) == []


def test_threads_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomic(path, content), texts * 20))
    assert path.read_text("utf-8") in texts
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_written_readably_and_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "小快", "steps": [1, 2]})
    assert "小快" in (tmp_path / "a.json").read_text("utf-8")
    assert read_json(tmp_path / "a.json") == {"name": "小快", "steps": [1, 2]}


@pytest.mark.parametrize("content", [None, "", '{"torn": ', "[1, 2]"])
def test_json_that_is_missing_torn_or_no_mapping_is_empty(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {}


def test_a_folder_is_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_a_held_lock_is_refused_without_waiting(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a"
    with holder(lock) as process:
        with pytest.raises(LockedError, match="a"), file_lock(lock, wait=False):
            pass
        process.communicate()
    with file_lock(lock, wait=False):
        pass


def test_a_waiter_gets_the_lock_when_its_holder_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "a"
    with holder(lock) as process:
        waits: list[str] = []

        def kill() -> None:
            waits.append("waits")
            process.kill()

        with file_lock(lock, on_wait=kill):
            assert waits == ["waits"]


def test_a_lock_file_deleted_by_its_holder_is_made_again(tmp_path: Path) -> None:
    lock = tmp_path / "a"
    with holder(lock) as process:

        def delete_and_release() -> None:
            lock.unlink()
            process.communicate()

        with file_lock(lock, on_wait=delete_and_release):
            assert lock.exists()
            with pytest.raises(LockedError), file_lock(lock, wait=False):
                pass


def test_a_named_lock_is_a_file_in_the_state_folder() -> None:
    lock = named_lock("modelscope-model-Qwen/Qwen3")
    assert lock.parent == home() / "locks"
    assert lock.name == "modelscope-model-Qwen-Qwen3"


def test_the_free_space_of_a_folder_to_come_is_that_of_its_disk(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(free_bytes(tmp_path), rel=0.2)


def test_too_little_space_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _folder: 3 * 2**30)

    def refusal(needed: int, free: int) -> MachineError:
        return MachineError(f"{size(needed)} to write, {size(free)} free")

    require_room(tmp_path, 3 * 2**30, refusal)
    with pytest.raises(MachineError, match=r"4\.0 GiB to write, 3\.0 GiB free"):
        require_room(tmp_path, 4 * 2**30, refusal)


def test_a_lock_of_a_long_name_has_a_short_file_name() -> None:
    names = {named_lock("x" * 5000), named_lock("x" * 5001), named_lock("模" * 300)}
    assert len(names) == 3
    for lock in names:
        with file_lock(lock):
            assert lock.is_file()
