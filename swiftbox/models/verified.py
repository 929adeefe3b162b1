"""The marker of a downloaded folder: its files, with size, mtime, and what confirms them.

A file whose size and mtime match the marker is not hashed again. Some hubs tell no hash, some not
even a size: what was not compared with a hash of the hub is recorded as unconfirmed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from swiftbox.files import write_json
from swiftbox.security.paths import fault_of_relative

MARKER = ".swiftbox-verified.json"
"""Name of the marker; hidden, so that programs that read a model's folder ignore it."""

BLOCK_BYTES = 8 * 2**20
WRITE_INTERVAL_S = 1.0
"""A dataset of thousands of small files must not write its marker thousands of times."""


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Confirmation = Literal["hash", "length", "nothing"]
"""What of the hub a file agrees with: a hash of its contents, the length alone, or nothing."""


@dataclass(frozen=True)
class VerifiedFile:
    """One file as it was when it was recorded; `sha256` is that of the file on this machine."""

    size: int
    mtime_ns: int
    sha256: str
    confirmed_by: Confirmation = "hash"
    blob: str | None = None
    """The hash of git that the hub listed."""


@dataclass(frozen=True)
class ListedFile:
    """What a hub tells of a file; None for what it does not tell."""

    path: str
    size: int | None = None
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a folder's files come from: the requested `revision`, and its `commit` at the time."""

    hub: str
    id: str
    kind: str
    revision: str
    commit: str | None
    subfolder: str | None = None


@dataclass(frozen=True)
class Verification:
    """The result of hashing a folder again, as paths within the folder."""

    origin: Origin | None
    unchanged: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unconfirmed: tuple[str, ...] = ()
    """Unchanged files that were never compared with a hash of the hub."""

    @property
    def ok(self) -> bool:
        """Return whether every recorded file is present and unchanged."""
        return self.origin is not None and not self.changed and not self.missing


@dataclass
class Marker:
    """The marker of one folder, updated while files are downloaded into it."""

    folder: Path
    origin: Origin | None = None
    complete: list[str] = field(default_factory=list)
    """The selections of files that are complete; the empty one is the default selection."""
    files: dict[str, VerifiedFile] = field(default_factory=dict)
    fetching: list[str] | None = None
    """The files that the last download began to fetch; None in a marker of an older version."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _written: float = 0.0

    def knows(self, path: str, sha256: str | None) -> bool:
        """Return whether a file is recorded, has not changed since, and has this hash if any."""
        file = self.files.get(path)
        if file is None or (sha256 is not None and file.sha256 != sha256):
            return False
        return size_and_mtime(self.folder / path) == (file.size, file.mtime_ns)

    def has(self, file: ListedFile, *, commit: str | None) -> bool:
        """Return whether a recorded file is the one that a hub lists at a commit.

        Without a hash to compare, it is the same only at the same commit.
        """
        recorded = self.files.get(file.path)
        if recorded is None or not self.knows(file.path, file.sha256):
            return False
        if file.size is not None and file.size != recorded.size:
            return False
        if file.sha256 is not None or (file.blob is not None and file.blob == recorded.blob):
            return True
        is_other = file.blob is not None and recorded.blob is not None
        return not is_other and self.origin is not None and self.origin.commit == commit

    def add(
        self,
        path: str,
        sha256: str,
        confirmed_by: Confirmation = "hash",
        blob: str | None = None,
    ) -> None:
        """Record a file and what confirms it; write the marker at most once per interval."""
        stat = size_and_mtime(self.folder / path)
        if stat is None:
            return
        with self._lock:
            self.files[path] = VerifiedFile(*stat, sha256, confirmed_by, blob)
            if time.monotonic() - self._written > WRITE_INTERVAL_S:
                self._write()

    def is_unchanged(self, path: str) -> bool:
        """Return whether a file is as it was when it was recorded."""
        return self.knows(path, None)

    def is_partial(self, path: str) -> bool:
        """Return whether an unfinished file `path` can be that of an earlier download."""
        if self.fetching is None:
            return self.origin is not None
        return path in self.fetching

    def begin(self, origin: Origin, fetching: Iterable[str] = ()) -> None:
        """Record a download's origin and files; after a new commit no selection is complete."""
        if self.origin is None or self.origin.commit != origin.commit:
            self.complete = []
        self.origin = origin
        self.fetching = sorted({*(self.fetching or ()), *fetching})
        with self._lock:
            self._write()

    def end(self, selection: str) -> None:
        """Record that a selection is complete."""
        if selection not in self.complete:
            self.complete.append(selection)
        self.fetching = []
        with self._lock:
            self._write()

    def _write(self) -> None:
        content = {
            "format": 1,
            **asdict(self.origin or Origin("", "", "", "", None)),
            "complete": self.complete,
            "fetching": self.fetching,
            "files": {path: asdict(file) for path, file in sorted(self.files.items())},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / MARKER, content)
        self._written = time.monotonic()


def read_marker(folder: Path) -> Marker:
    """Return a folder's marker; an empty one if it is missing or unreadable."""
    try:
        if not (folder / MARKER).is_file():  # a pipe would block
            return Marker(folder)
        content: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        names = ("hub", "id", "kind", "revision", "commit", "subfolder")
        origin = Origin(**{name: content[name] for name in names})
        files = {
            path: VerifiedFile(**file)
            for path, file in content["files"].items()
            if not fault_of_relative(path, hidden=True) and not _is_doubtful(file)
        }
        fetching = content.get("fetching")
        complete, partial = list(content["complete"]), None if fetching is None else list(fetching)
        return Marker(folder, origin, complete, files, partial)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Marker(folder)


def _is_doubtful(file: dict[str, Any]) -> bool:
    """Tell whether an older version may have recorded an empty file for one of unknown size."""
    return "confirmed_by" not in file and not file["size"]


def unconfirmed_files(marker: Marker) -> list[str]:
    """Return the recorded files that were never compared with a hash of the hub."""
    return [path for path, file in marker.files.items() if file.confirmed_by != "hash"]


def is_complete(marker: Marker, selection: str) -> bool:
    """Return whether a selection was downloaded and every recorded file is unchanged."""
    return selection in marker.complete and all(marker.knows(path, None) for path in marker.files)


def size_and_mtime(path: Path) -> tuple[int, int] | None:
    """Return a file's size and mtime in nanoseconds; None if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash a file; `on_bytes` is called with the size of each block."""
    import hashlib  # takes milliseconds; a check hashes nothing

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if on_bytes is not None:
                on_bytes(len(block))
    return digest.hexdigest()


def verify(folder: Path, on_bytes: Callable[[int], None] | None = None) -> Verification:
    """Hash every recorded file of a folder again, regardless of its mtime."""
    marker = read_marker(folder)
    unchanged, changed, missing = [], [], []
    for path, file in marker.files.items():
        if not (folder / path).is_file():
            missing.append(path)
        elif sha256_of(folder / path, on_bytes) == file.sha256:
            unchanged.append(path)
            marker.add(path, file.sha256, file.confirmed_by, file.blob)
        else:
            changed.append(path)
    unconfirmed = tuple(path for path in unconfirmed_files(marker) if path in unchanged)
    return Verification(
        marker.origin, tuple(unchanged), tuple(changed), tuple(missing), unconfirmed
    )
