"""The batches that decode, their caches, and the space that these may take.

A cache with slots outlives its batch: its tensors and graphs serve the next batch of the adapter.
Such idle caches are freed when others need their space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swiftbox.core.generation.batch import DecodeBatch, GeneratedSequence, PrefillEntry
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.requests import SchedulerLimits
from swiftbox.core.generation.slot_cache import CacheSpace, SlotCache

START_SHARE = 4
"""A new cache with slots reserves this part of the free cells, so that it seldom grows."""

GROWTH_RESERVE = 64
"""Cells kept free for each sequence that is admitted, so that it is not preempted at once."""

SHRINK = 0.75
"""What remains of the cells in use after memory ran out."""


class DecodeBatches:
    """The decode batch of each adapter, within the cells of the limits."""

    def __init__(self, layers: int, limits: SchedulerLimits, path: DecodePath) -> None:
        self.layers = layers
        self.limits = limits
        self.path = path
        self.cells = limits.cells
        """The limit of cells; smaller than at the start once memory ran out."""
        self._by_adapter: dict[str, DecodeBatch] = {}
        self._idle: dict[str, SlotCache] = {}

    def __bool__(self) -> bool:
        """Return whether any sequence decodes."""
        return bool(self._by_adapter)

    def __iter__(self) -> Iterator[DecodeBatch]:
        """Return the batches; they may change meanwhile."""
        return iter(list(self._by_adapter.values()))

    def rows(self) -> list[GeneratedSequence]:
        """Return all sequences that decode."""
        return [row for batch in self for row in batch.rows]

    def find(self, adapter: str) -> DecodeBatch | None:
        """Return the batch of an adapter, if it has one."""
        return self._by_adapter.get(adapter)

    def open(self, adapter: str) -> DecodeBatch:
        """Return the batch of an adapter; without one, a new one."""
        batch = self._by_adapter.get(adapter)
        if batch is None:
            cache = self._cache(adapter)
            self._idle.pop(adapter, None)
            batch = DecodeBatch(adapter, cache, overlap=self.path.is_static)
            self._by_adapter[adapter] = batch
        return batch

    def close(self, adapter: str) -> None:
        """Remove a batch; its cache serves the next one if it can."""
        batch = self._by_adapter.pop(adapter, None)
        if batch is not None and isinstance(batch.cache, SlotCache):
            batch.cache.clear()
            self._idle[adapter] = batch.cache

    def discard(self, adapter: str) -> list[PrefillEntry]:
        """Remove a batch with its cache; return its sequences, to be read again."""
        self._idle.pop(adapter, None)
        batch = self._by_adapter.pop(adapter, None)
        rows = batch.rows if batch else []
        return [PrefillEntry(row.all_tokens(), [row], adapter) for row in rows]

    def discard_reserved(self) -> list[PrefillEntry]:
        """Remove all batches whose caches reserve more than they use; return their sequences."""
        if not self.path.is_static:
            return []
        return [entry for batch in self for entry in self.discard(batch.adapter)]

    def _cache(self, adapter: str) -> BatchCache | SlotCache:
        if adapter in self._idle:
            return self._idle[adapter]
        if self.path.graphs is None:
            return BatchCache(self.layers)
        limits, free = self.limits, max(0, self.cells - self._used())
        space = CacheSpace(limits.rows, limits.length, self.cells, free // START_SHARE)
        return self._idle.setdefault(adapter, SlotCache(self.layers, space, self.path.graphs))

    def _used(self, *, without: str | None = None) -> int:
        caches = {adapter: batch.cache.cells() for adapter, batch in self._by_adapter.items()}
        caches |= {adapter: cache.reserved for adapter, cache in self._idle.items()}
        return sum(cells for adapter, cells in caches.items() if adapter != without)

    def free_idle(self) -> None:
        """Free the caches of adapters that answer nothing."""
        self._idle.clear()

    def has_space(self, entries: Sequence[PrefillEntry]) -> bool:
        """Return whether prompts of one adapter fit; if nothing decodes, a single one always."""
        adapter = entries[0].adapter
        rows = sum(len(entry.rows) for entry in entries)
        length = max(len(entry.tokens) for entry in entries) + GROWTH_RESERVE
        if not self:
            return rows * length <= self.cells or len(entries) == 1
        batch = self.find(adapter)
        cache = batch.cache if batch else self._cache(adapter)
        needed = cache.cells(rows, length)
        if self._used(without=adapter) + needed > self.cells and self._idle:
            self.free_idle()
        return self._used(without=adapter) + needed <= self.cells

    def preempt(self) -> list[PrefillEntry]:
        """Take out the newest sequences until the others have space to grow; return them."""
        entries: list[PrefillEntry] = []
        while self._used() > self.cells:
            if self._idle:
                self.free_idle()
                continue
            pairs = [(batch, row) for batch in self for row in batch.rows]
            if len(pairs) <= 1:
                break
            batch, row = max(pairs, key=lambda pair: pair[1].ticket.arrived)
            batch.drop(row)
            entries.append(PrefillEntry(row.all_tokens(), [row], batch.adapter))
        return entries

    def shrink(self) -> None:
        """Lower the limit of cells below what was in use when memory ran out."""
        attempted = self._used() or self.cells  # nothing in use: several prompts did not fit
        self.cells = max(1, int(min(attempted, self.cells) * SHRINK))
