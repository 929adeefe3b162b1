"""Unfinished files: one name for each process, and what ended processes began is continued."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftbox.hub.partial_files import HOST_DIGITS, QUIET_S, own_name, take_over


def ended_pid() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


def name_of(pid: int, host: str = "") -> str:
    current = own_name("a")
    name = current.replace(f"-{os.getpid()}.", f"-{pid}.")
    return name.replace(current[2 : 2 + HOST_DIGITS], host) if host else name


def quiet(path: Path) -> None:
    seen = path.stat().st_mtime - QUIET_S - 1
    os.utime(path, (seen, seen))


def test_the_largest_file_of_ended_processes_is_continued(tmp_path: Path) -> None:
    first, second = (tmp_path / name_of(ended_pid()) for _ in range(2))
    first.write_bytes(b"12")
    second.write_bytes(b"123")
    target = tmp_path / own_name("a")
    take_over([target])
    assert target.read_bytes() == b"123"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize(
    "name", [name_of(os.getppid()), name_of(1, "0123abcd"), "a.incomplete", "b.incomplete"]
)
def test_a_file_that_another_process_may_be_writing_is_left_alone(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"12")
    take_over([tmp_path / own_name("a")])
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", [name_of(1, "0123abcd"), "a.incomplete"])
def test_a_file_of_another_machine_or_tool_is_continued_when_it_is_quiet(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"12")
    quiet(tmp_path / name)
    take_over([tmp_path / own_name("a")])
    assert os.listdir(tmp_path) == [own_name("a")]


def test_what_cannot_be_continued_is_deleted(tmp_path: Path) -> None:
    (tmp_path / name_of(ended_pid())).write_bytes(b"12")
    take_over([tmp_path / own_name("a")], keep=False)
    assert os.listdir(tmp_path) == []


def test_a_link_is_not_taken_over(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    link = tmp_path / name_of(ended_pid())
    link.symlink_to(precious)
    take_over([tmp_path / own_name("a")])
    assert link.is_symlink()
    assert precious.read_bytes() == b"mine"
