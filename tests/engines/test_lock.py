"""Locked releases are installed with their published bytes or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from documents import ROOT
from tiny_wheels import write_wheel
from toy_engine import TOY

from swiftbox import engines
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines import lock
from swiftbox.engines.engine import Engine
from swiftbox.engines.install import install
from swiftbox.engines.state import installed_versions
from swiftbox.errors import MachineError


def write_lock(index: Path, file: Path) -> None:
    """Write a lock with what the index of the toy holds now."""
    files = {"toy==1.0": "toy-1.0-py3-none-any.whl", "late==1.0": "late-1.0.tar.gz"}
    lines = [
        f"{release} --hash=sha256:{hashlib.sha256((index / name).read_bytes()).hexdigest()}\n"
        for release, name in files.items()
    ]
    file.write_text("# a lock\n" + "".join(lines), "utf-8")


@pytest.fixture
def locked(
    fresh: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The folder where the toy would be installed, and a copy of its index; all of it locked."""
    copy = Path(shutil.copytree(index, tmp_path / "mirror"))
    write_lock(copy, tmp_path / "lock.txt")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock.txt")
    monkeypatch.setenv("PIP_FIND_LINKS", copy.as_uri())
    return fresh, copy


def test_releases_with_the_published_bytes_are_installed_with_their_dependencies(
    locked: tuple[Path, Path],
) -> None:
    output: list[str] = []
    assert install("toy", "cpu", say=output.append).status == "installed"
    assert installed_versions(locked[0])["toy_helper"] == "1.0"
    assert output.count("  1 package by sha256") == 2


def test_a_wheel_with_other_bytes_is_refused_and_nothing_of_it_is_installed(
    locked: tuple[Path, Path],
) -> None:
    folder, mirror = locked
    code = {"toy/__init__.py": "print('a stranger')\n"}
    write_wheel(mirror, "toy", "1.0", code, metadata="Requires-Dist: toy-helper==1.0\n")
    with pytest.raises(MachineError, match="not the published one") as refused:
        install("toy", "cpu", say=lambda _line: None)
    assert "toy==1.0" in refused.value.message
    assert "PIP_INDEX_URL" in refused.value.hint
    assert "toy" not in installed_versions(folder)


def test_a_source_package_with_other_bytes_is_not_built(locked: tuple[Path, Path]) -> None:
    folder, mirror = locked
    archive = mirror / "late-1.0.tar.gz"
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(MachineError, match="not the published one"):
        install("toy", "cpu", say=lambda _line: None)
    assert "late" not in installed_versions(folder)


def test_the_consent_says_what_is_checked_and_what_is_not(locked: tuple[Path, Path]) -> None:
    assert locked
    assert lock.coverage(TOY, "cpu") == (
        "checked by sha256: 2 pinned packages; not checked: the packages that these depend on"
    )
    assert "not checked: torch, the packages" in lock.coverage(engines.GPTQ, "cpu")


def pins(engine: Engine) -> set[str]:
    """Return the releases that an engine pins on any backend, without torch and its plugins."""
    excluded = {"torch", *(row.plugin for row in BACKENDS.values())}
    releases = {
        lock.release_of(requirement)
        for backend in BACKENDS
        for requirement in engine.requested(backend)
        if "==" in requirement
    }
    return {release for release in releases if release.partition("==")[0] not in excluded}


def test_the_lock_holds_every_release_that_an_engine_pins_and_no_other() -> None:
    """After a changed pin, run scripts/lock."""
    releases = set().union(*(pins(engine) for engine in engines.ENGINES.values()))
    assert set(lock.read_lock()) == releases
    for line in lock.read_lock().values():
        _, *hashes = line.split(" ")
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in hashes), line


def test_the_lock_is_in_the_package_and_names_its_script() -> None:
    assert "scripts/lock" in lock.LOCK.read_text("utf-8").splitlines()[1]
    assert (ROOT / "scripts" / "lock").is_file()
    assert "engines/lock.txt" in (ROOT / "pyproject.toml").read_text("utf-8")
