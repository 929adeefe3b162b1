"""The batches that decode, their caches, and the space that these may take.

A cache with slots outlives its batch: its tensors and graphs serve the next batch of the adapter.
Such idle caches are freed when others need their space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter

from swiftbox.core.generation.batch import DecodeBatch, GeneratedSequence, Prefill, PrefillEntry
from swiftbox.core.generation.cell_limit import CellLimit
from swiftbox.core.generation.decode_paths import DecodePath
from swiftbox.core.generation.kv_cache import BatchCache
from swiftbox.core.generation.reading_pace import SHORT_PROMPT
from swiftbox.core.generation.recurrent_rows import CacheLayers
from swiftbox.core.generation.requests import SchedulerLimits
from swiftbox.core.generation.slot_cache import CacheSpace, SlotCache

PREFILL_TOKENS = 2048
"""Tokens of prompts, padding included, that are read together."""

START_SHARE = 4
"""A new cache with slots reserves this part of the free cells, so that it seldom grows."""

GROWTH_RESERVE = 64
"""Cells kept free for each sequence that is admitted, so that it is not preempted at once."""


class DecodeBatches:
    """The decode batch of each adapter, within the cells of the limits."""

    def __init__(self, layers: CacheLayers, limits: SchedulerLimits, path: DecodePath) -> None:
        self.layers = layers
        self.limits = limits
        self.path = path
        self.limit = CellLimit(limits.cells)
        self._by_adapter: dict[str, DecodeBatch] = {}
        self._idle: dict[str, SlotCache] = {}

    @property
    def cells(self) -> int:
        """Return how many cells all caches together may have now."""
        return self.limit.cells

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

    def discard_joining(self, prefill: Prefill) -> list[PrefillEntry]:
        """Return what is to be read again after a prefill failed.

        If it was about to join a batch, the cache of that is broken: its sequences are included.
        """
        if not prefill.is_read:
            return prefill.entries
        joining = [row for entry in prefill.entries for row in entry.rows]
        others = [
            entry
            for entry in self.discard(prefill.adapter)
            if not any(entry.rows[0] is row for row in joining)
        ]
        return [*prefill.entries, *others]

    def discard_reserved(self) -> list[PrefillEntry]:
        """Remove all batches whose caches reserve more than they use; return their sequences."""
        if not self.path.is_static:
            return []
        return [entry for batch in self for entry in self.discard(batch.adapter)]

    def _cache(self, adapter: str) -> BatchCache | SlotCache:
        if adapter in self._by_adapter:
            return self._by_adapter[adapter].cache
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

    def admits(self, entry: PrefillEntry, others: Sequence[PrefillEntry]) -> bool:
        """Return whether an entry can be read together with others, and has space then."""
        if others:
            longest = max(len(entry.tokens), *(len(other.tokens) for other in others))
            fits = longest * (len(others) + 1) <= PREFILL_TOKENS
            if not fits or entry.adapter != others[0].adapter:
                return False
        return self.has_space([*others, entry])

    def admits_beside(
        self, entry: PrefillEntry, others: Sequence[PrefillEntry], long: Prefill
    ) -> bool:
        """Return whether an entry can be read in one part, with space left for a longer prompt.

        That one may be of the same adapter only.
        """
        entries = [*others, entry]
        longest = max(len(each.tokens) for each in entries)
        if longest * len(entries) > SHORT_PROMPT or entry.adapter != long.adapter:
            return False
        return self.has_space([*long.entries, *entries])

    def has_space(self, entries: Sequence[PrefillEntry], reserve: int = GROWTH_RESERVE) -> bool:
        """Return whether prompts of one adapter fit; if nothing decodes, a single one always."""
        rows = sum(len(entry.rows) for entry in entries)
        length = max(len(entry.tokens) for entry in entries) + reserve
        fits = self._make_space(entries[0].adapter, rows, length)
        return fits or (not self and len(entries) == 1)

    def preempt(self, adapter: str) -> list[PrefillEntry]:
        """Make space for a step of a batch; return the sequences that are taken out for it.

        They are the newest ones of the batch. The oldest sequence of all stays, so that one always
        ends; only if its batch has no other, sequences of other batches are taken out.
        """
        entries: list[PrefillEntry] = []
        batch = self._by_adapter[adapter]
        while batch.rows and not self._make_space(adapter):
            pair = self._newest(batch)
            if pair is None:
                break
            owner, row = pair
            owner.drop(row)
            entries.append(PrefillEntry(row.all_tokens(), [row], owner.adapter))
            if not owner.rows:
                self.close(owner.adapter)
        return entries

    def _newest(self, growing: DecodeBatch) -> tuple[DecodeBatch, GeneratedSequence] | None:
        """Return the sequence to take out; None if a single one is left."""
        oldest = min(self.rows(), key=attrgetter("age"))
        for batches in ([growing], list(self)):
            pairs = [(batch, row) for batch in batches for row in batch.rows if row is not oldest]
            if pairs:
                return max(pairs, key=lambda pair: pair[1].age)
        return None

    def _make_space(self, adapter: str, rows: int = 0, length: int = 0) -> bool:
        """Return whether an adapter's batch may take more rows of that length, and a step.

        Where it is necessary, idle caches are freed; others are packed if that is sufficient.
        """
        for release in (None, self.free_idle, partial(self._pack, adapter, rows, length)):
            if release:
                release()
            cache = self._cache(adapter)
            allowed = self.cells - self._used(without=adapter)
            if isinstance(cache, SlotCache):
                cache.limit = allowed
            if cache.cells(rows, length) <= allowed:
                return True
        return False

    def _pack(self, adapter: str, rows: int, length: int) -> None:
        """Pack caches until more rows of that length fit; none if that is not enough."""
        cache = self._cache(adapter)
        others = [batch for batch in self if batch.adapter != adapter]
        least = sum(batch.cache.packed for batch in others) + cache.least(rows, length)
        if least > self.cells:
            return
        others.sort(key=lambda batch: batch.cache.cells() - batch.cache.packed, reverse=True)
        for batch in [*others, *(batch for batch in self if batch.adapter == adapter)]:
            if self._used(without=adapter) + cache.cells(rows, length) <= self.cells:
                return
            batch.pack()

    def shrink(self) -> None:
        """Lower the limit of cells below what was in use when memory ran out."""
        self.limit.lower(self._used())  # nothing in use: several prompts did not fit
