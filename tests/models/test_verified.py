"""The marker: what was verified is not hashed again, what changed is found."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from swiftbox.models import verified
from swiftbox.models.verified import MARKER, ListedFile, Origin, is_complete, read_marker, verify

ORIGIN = Origin("modelscope", "o/n", "model", "master", "abc")


def marked(folder: Path) -> None:
    marker = read_marker(folder)
    marker.begin(ORIGIN)
    for name in ("a", "b"):
        (folder / name).write_text(name * 10)
        marker.add(name, hashlib.sha256((name * 10).encode()).hexdigest())
    marker.end("")


def test_a_written_marker_is_read_back(tmp_path: Path) -> None:
    marked(tmp_path)
    result = read_marker(tmp_path)
    assert result.origin == ORIGIN
    assert is_complete(result, "")
    assert not is_complete(result, "|*.json|None")
    assert result.knows("a", None)
    assert result.knows("a", hashlib.sha256(b"a" * 10).hexdigest())
    assert not result.knows("a", "0" * 64)


def test_a_touched_file_is_no_longer_verified(tmp_path: Path) -> None:
    marked(tmp_path)
    os.utime(tmp_path / "a", ns=(1, 1))
    assert not read_marker(tmp_path).knows("a", None)
    assert not is_complete(read_marker(tmp_path), "")


def test_verify_hashes_regardless_of_mtime(tmp_path: Path) -> None:
    marked(tmp_path)
    assert verify(tmp_path).ok
    before = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("x" * 10)
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "b").unlink()
    result = verify(tmp_path)
    assert (result.changed, result.missing, result.unchanged) == (("a",), ("b",), ())
    assert not result.ok


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}'])
def test_a_torn_marker_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / MARKER).write_text(content)
    assert not is_complete(read_marker(tmp_path), "")
    assert not verify(tmp_path).ok


def test_a_new_commit_resets_the_marker(tmp_path: Path) -> None:
    marked(tmp_path)
    marker = read_marker(tmp_path)
    marker.begin(verified.Origin("modelscope", "o/n", "model", "master", "def"))
    assert not is_complete(read_marker(tmp_path), "")


def test_a_file_without_a_hash_is_the_same_only_at_its_commit(tmp_path: Path) -> None:
    marked(tmp_path)
    marker = read_marker(tmp_path)
    assert marker.has(ListedFile("a", 10), commit="abc")
    assert not marker.has(ListedFile("a", 10), commit="def")
    assert not marker.has(ListedFile("a", 11), commit="abc")
    marker.add("a", hashlib.sha256(b"a" * 10).hexdigest(), "hash", "0" * 40)
    assert marker.has(ListedFile("a", 10, blob="0" * 40), commit="def")
    assert not marker.has(ListedFile("a", 10, blob="1" * 40), commit="abc")
