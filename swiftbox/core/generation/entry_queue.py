"""Entries that wait to be read: new ones in their order, after those that had to give way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from swiftbox.core.generation.batch import Prefill, PrefillEntry
from swiftbox.core.generation.decode_batches import DecodeBatches


class EntryQueue:
    """The queue of a scheduler; who changes it holds the scheduler's lock."""

    def __init__(self, batches: DecodeBatches) -> None:
        self._batches = batches
        self._new: deque[PrefillEntry] = deque()
        self._sent_back: deque[PrefillEntry] = deque()

    def __len__(self) -> int:
        """Return how many entries wait."""
        return len(self._new) + len(self._sent_back)

    def __iter__(self) -> Iterator[PrefillEntry]:
        """Return the entries in the order in which they are read; it may change meanwhile."""
        return iter([*self._sent_back, *self._new])

    def add(self, entry: PrefillEntry) -> None:
        """Add a new entry at the end."""
        self._new.append(entry)

    def send_back(self, entries: Iterable[PrefillEntry], *, after: int) -> None:
        """Return entries to the front, the oldest first; `after`: see PrefillEntry."""
        for entry in entries:
            entry.after = after
            self._sent_back.append(entry)
        ordered = sorted(self._sent_back, key=lambda entry: entry.rows[0].age)
        self._sent_back = deque(ordered)

    def take(self, free: int, ended_rows: int) -> list[PrefillEntry]:
        """Remove the next entries: of one adapter, as many as there is space for.

        Args:
            free: Sequences that may be added.
            ended_rows: Sequences that have ended so far.
        """
        entries: list[PrefillEntry] = []
        while self:
            first = self._sent_back or self._new
            entry = first[0]
            if entry.after > ended_rows and self._batches:
                break
            if len(entry.rows) > free or not self._batches.admits(entry, entries):
                break
            entries.append(first.popleft())
            free -= len(entry.rows)
        return entries

    def take_short(self, free: int, long: Prefill) -> list[PrefillEntry]:
        """Remove entries that are read in one part while a long prompt is being read.

        They leave space for it. None is taken while entries that gave way wait: these come first.
        """
        entries: list[PrefillEntry] = []
        if self._sent_back:
            return entries
        for entry in list(self._new):
            if len(entry.rows) <= free and self._batches.admits_beside(entry, entries, long):
                self._new.remove(entry)
                entries.append(entry)
                free -= len(entry.rows)
        return entries

    def remove_cancelled(self) -> list[PrefillEntry]:
        """Remove and return the entries of cancelled requests."""
        cancelled = [entry for entry in self if entry.rows[0].ticket.cancelled]
        for entry in cancelled:
            (self._new if entry in self._new else self._sent_back).remove(entry)
        return cancelled

    def clear(self) -> Sequence[PrefillEntry]:
        """Remove and return all entries."""
        entries = list(self)
        self._new.clear()
        self._sent_back.clear()
        return entries
