"""Special files are refused at once; regular ones are read up to a limit."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from swiftbox.security.regular import read_regular, require_regular


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    for refuse in (require_regular, lambda path: read_regular(path, 10)):
        with pytest.raises(OSError, match="not a regular file"):
            refuse(tmp_path / "a")


def test_a_device_and_a_link_to_it_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), tmp_path / "zero"):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path, 10)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(Path("s"), 10)


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    require_regular(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 10)


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "a", 10) == b"0123456789"
    with pytest.raises(OSError, match="larger than 9 B"):
        read_regular(tmp_path / "a", 9)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_of_size_zero_that_has_content_is_read() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert b"Name:" in read_regular(Path("/proc/self/status"), 2**20)
