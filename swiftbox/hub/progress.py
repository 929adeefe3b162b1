"""The progress of a download as events: bytes, speed and time left, at intervals that grow."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from swiftbox.hub.listing import RemoteFile
from swiftbox.runs import events
from swiftbox.runs.events import Emit

MIN_INTERVAL_S, MAX_INTERVAL_S = 0.5, 10.0
"""Seconds between two events: half at first, ten after hours, so the record stays small."""

INTERVAL_SHARE = 1 / 200
"""The interval as a share of the elapsed time, between those bounds."""

SPEED_WINDOW_S = 8.0
SHOWN_FILES = 4


def silent(event: str, **fields: Any) -> None:
    """Discard an event."""


@dataclass
class Meter:
    """Counts the bytes of one repository's files, from several threads.

    Bytes left by an earlier attempt count as done, but not towards the speed.
    """

    name: str
    kind: str
    emit: Emit = silent
    clock: Callable[[], float] = time.monotonic
    sizes: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    """Bytes on the disk, by file."""
    active: dict[str, None] = field(default_factory=dict)
    finished: int = 0
    total_files: int = 0
    fetched: int = 0
    """Bytes received over the network, including those that were discarded."""
    fetched_of: dict[str, int] = field(default_factory=dict)
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    """Times and received bytes within the speed window."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    started: float = 0.0
    last_event: float = 0.0

    def begin(self, files: Iterable[RemoteFile], missing: Iterable[RemoteFile]) -> None:
        """Start counting; files that are not `missing` are present."""
        self.sizes = {file.path: file.size or 0 for file in files}
        missing_paths = {file.path for file in missing}
        self.present = {
            path: size for path, size in self.sizes.items() if path not in missing_paths
        }
        self.total_files, self.finished = len(self.sizes), len(self.present)
        self.started = self.clock()
        self.samples.append((self.started, 0))

    def expect(self, path: str, size: int | None) -> None:
        """Learn the size of a file that the hub does not list."""
        with self.lock:
            if size is not None and not self.sizes.get(path):
                self.sizes[path] = size

    def open(self, path: str, present: int) -> None:
        """Start a file of which some bytes are present."""
        with self.lock:
            self.active[path] = None
            self.present[path] = present
            self._report(now=True)

    def add(self, path: str, count: int) -> None:
        """Count received bytes; a negative count takes discarded ones back."""
        with self.lock:
            self.present[path] = max(0, self.present.get(path, 0) + count)
            if count > 0:
                self.fetched += count
                self.fetched_of[path] = self.fetched_of.get(path, 0) + count
            self._report()

    def close(self, path: str, *, complete: bool) -> None:
        """Leave a file, complete or given up."""
        with self.lock:
            self.active.pop(path, None)
            if complete:
                self.present[path] = self.sizes.get(path) or self.present.get(path, 0)
                self.sizes[path] = self.present[path]
                self.finished += 1
            self._report(now=complete and self.finished == self.total_files)

    def _report(self, *, now: bool = False) -> None:
        time_s = self.clock()
        interval = (time_s - self.started) * INTERVAL_SHARE
        interval = min(max(MIN_INTERVAL_S, interval), MAX_INTERVAL_S)
        if now:
            interval = MIN_INTERVAL_S / 5
        if time_s - self.last_event < interval and self.finished != self.total_files:
            return
        self.last_event = time_s
        done, speed = sum(self.present.values()), self._speed()
        total = max(done, sum(self.sizes.values()))
        self.emit(
            events.PROGRESS,
            what=self.name,
            kind=self.kind,
            bytes=done,
            total_bytes=total,
            bytes_per_s=round(speed),
            eta_s=round((total - done) / speed, 1) if speed > 0 else None,
            files_done=self.finished,
            files_total=self.total_files,
            files=[
                {"path": path, "bytes": self.present.get(path, 0), "size": self.sizes.get(path, 0)}
                for path in list(self.active)[:SHOWN_FILES]
            ],
        )

    def _speed(self) -> float:
        """Return the bytes per second received within the speed window."""
        time_s = self.last_event
        self.samples.append((time_s, self.fetched))
        while len(self.samples) > 2 and time_s - self.samples[0][0] > SPEED_WINDOW_S:
            self.samples.popleft()
        start, fetched = self.samples[0]
        return (self.fetched - fetched) / (time_s - start) if time_s > start else 0.0
