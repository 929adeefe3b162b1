"""How a download tells what it does: notes, and now and then bytes, speed and time left."""

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

SHORTEST_S, LONGEST_S = 0.5, 10.0
"""Between two events: at first half a second, after hours ten, so that the record stays small."""

SHARE_OF_ELAPSED = 1 / 200
SPEED_WINDOW_S = 8.0
SHOWN_FILES = 4


def silent(event: str, **fields: Any) -> None:
    """Tell nobody."""


@dataclass
class Meter:
    """Counts the bytes of the files of one repository, from several threads.

    Bytes that an earlier attempt left count as done and not as speed.
    """

    name: str
    kind: str
    emit: Emit = silent
    clock: Callable[[], float] = time.monotonic
    sizes: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    active: dict[str, None] = field(default_factory=dict)
    finished: int = 0
    total_files: int = 0
    fetched: int = 0
    """Bytes that came over the network; those that were thrown away count too."""
    fetched_of: dict[str, int] = field(default_factory=dict)
    marks: deque[tuple[float, int]] = field(default_factory=deque)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    began: float = 0.0
    last_event: float = 0.0

    def begin(self, files: Iterable[RemoteFile], needed: Iterable[RemoteFile]) -> None:
        """Start counting: of all files, those not `needed` are there."""
        self.sizes = {one.path: one.size for one in files}
        missing = {one.path for one in needed}
        self.present = {path: size for path, size in self.sizes.items() if path not in missing}
        self.total_files, self.finished = len(self.sizes), len(self.present)
        self.began = self.clock()
        self.marks.append((self.began, 0))

    def open(self, path: str, already: int) -> None:
        """Start on a file of which some bytes are there."""
        with self.lock:
            self.active[path] = None
            self.present[path] = already
            self._tell(now=True)

    def add(self, path: str, count: int) -> None:
        """Count bytes that arrived; fewer than none when some were thrown away."""
        with self.lock:
            self.present[path] = max(0, self.present.get(path, 0) + count)
            if count > 0:
                self.fetched += count
                self.fetched_of[path] = self.fetched_of.get(path, 0) + count
            self._tell()

    def close(self, path: str, *, whole: bool) -> None:
        """Leave a file, finished or given up."""
        with self.lock:
            self.active.pop(path, None)
            if whole:
                self.present[path] = self.sizes.get(path, self.present.get(path, 0))
                self.finished += 1
            self._tell(now=whole and self.finished == self.total_files)

    def _tell(self, *, now: bool = False) -> None:
        at = self.clock()
        pause = min(max(SHORTEST_S, (at - self.began) * SHARE_OF_ELAPSED), LONGEST_S)
        if at - self.last_event < (SHORTEST_S / 5 if now else pause) and not self._ended():
            return
        self.last_event = at
        self.marks.append((at, self.fetched))
        while len(self.marks) > 2 and at - self.marks[0][0] > SPEED_WINDOW_S:
            self.marks.popleft()
        done, total = sum(self.present.values()), sum(self.sizes.values())
        begin, before = self.marks[0]
        speed = (self.fetched - before) / (at - begin) if at > begin else 0.0
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

    def _ended(self) -> bool:
        return self.finished == self.total_files
