"""The marker of a fetched folder: which files were checked, when they had which size and time.

A file whose size and time of change are those of the marker is never hashed again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.files import write_json

MARKER = ".swiftbox-verified.json"
"""Beside the files; hidden, so that what reads a model's folder does not trip over it."""

BLOCK_BYTES = 8 * 2**20
SECONDS_BETWEEN_WRITES = 1.0
"""A dataset of thousands of small files does not write its marker thousands of times."""


@dataclass(frozen=True)
class VerifiedFile:
    """One file as it was when its contents were found right."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Origin:
    """Where a folder's files are from; `revision` as asked for, `commit` what that was then."""

    hub: str
    id: str
    kind: str
    revision: str
    commit: str | None
    subfolder: str | None = None


@dataclass(frozen=True)
class Verification:
    """What hashing a folder again found: each list holds paths within the folder."""

    origin: Origin | None
    unchanged: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every recorded file is there with the contents it had."""
        return self.origin is not None and not self.changed and not self.missing


@dataclass
class Marker:
    """The marker of one folder, kept in step with what is fetched into it."""

    folder: Path
    origin: Origin | None = None
    complete: list[str] = field(default_factory=list)
    """The selections of files that are all there; the empty one is what is usually wanted."""
    files: dict[str, VerifiedFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _written: float = 0.0

    def knows(self, path: str, sha256: str | None) -> bool:
        """Tell whether a file was checked, is as it was then, and is what the hub has now."""
        seen = self.files.get(path)
        if seen is None or (sha256 is not None and seen.sha256 != sha256):
            return False
        return size_and_mtime(self.folder / path) == (seen.size, seen.mtime_ns)

    def add(self, path: str, sha256: str) -> None:
        """Record a file that was found right, and write the marker now and then."""
        found = size_and_mtime(self.folder / path)
        if found is None:
            return
        with self._lock:
            self.files[path] = VerifiedFile(*found, sha256)
            if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
                self._write()

    def begin(self, origin: Origin) -> None:
        """Record what a download into the folder is of; of another commit, nothing is complete."""
        if self.origin is None or self.origin.commit != origin.commit:
            self.complete = []
        self.origin = origin
        with self._lock:
            self._write()

    def end(self, selection: str) -> None:
        """Record that all that was wanted is there."""
        if selection not in self.complete:
            self.complete.append(selection)
        with self._lock:
            self._write()

    def _write(self) -> None:
        content = {
            "format": 1,
            **asdict(self.origin or Origin("", "", "", "", None)),
            "complete": self.complete,
            "files": {path: asdict(one) for path, one in sorted(self.files.items())},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / MARKER, content)
        self._written = time.monotonic()


def read_marker(folder: Path) -> Marker:
    """Return the marker of a folder; an empty one where there is none, or none that can be read."""
    try:
        found: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        names = ("hub", "id", "kind", "revision", "commit", "subfolder")
        origin = Origin(**{name: found[name] for name in names})
        files = {path: VerifiedFile(**one) for path, one in found["files"].items()}
        return Marker(folder, origin, list(found["complete"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Marker(folder)


def is_complete(marker: Marker, selection: str) -> bool:
    """Tell whether a selection was fetched, and all that is recorded is there as it was."""
    return selection in marker.complete and all(marker.knows(path, None) for path in marker.files)


def size_and_mtime(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a file, None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash a file; `on_bytes` hears how many bytes each step took."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if on_bytes is not None:
                on_bytes(len(block))
    return digest.hexdigest()


def verify(folder: Path, on_bytes: Callable[[int], None] | None = None) -> Verification:
    """Hash every recorded file of a folder again, whatever its time of change says."""
    marker = read_marker(folder)
    right, changed, missing = [], [], []
    for path, seen in marker.files.items():
        if not (folder / path).is_file():
            missing.append(path)
        elif sha256_of(folder / path, on_bytes) == seen.sha256:
            right.append(path)
            marker.add(path, seen.sha256)
        else:
            changed.append(path)
    return Verification(marker.origin, tuple(right), tuple(changed), tuple(missing))
