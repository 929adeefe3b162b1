"""Compute the next items of an iterator in a thread, while the caller works on the present one.

The thread owns the iterator. It appends to `_ready`, waits while that is full, and ends when the
iterator does, when it fails, or when the prefetcher is closed; the caller takes items in the same
order. Both wait on one condition, so neither polls. An error of the iterator is raised in the
caller after the items before it, with the traceback of the thread.

One thread is enough: collating is a few numpy calls per batch, which release the lock of the
interpreter, and takes a small part of a step. Worker processes would copy the rows, cost seconds
to start, and need the batches to be pickled. Where the CPU computes the step itself, a thread
only takes time from it (8 % of a small model's step), and items are computed on demand.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class OnDemand(Generic[Item]):
    """Iterates over items that are computed when they are asked for."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return self._items

    def __next__(self) -> Item:
        return next(self._items)

    def close(self) -> None:
        """Compute no further items."""
        self._items = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Prefetcher(Generic[Item]):
    """Iterates over items that a thread computes ahead; a context manager that ends the thread."""

    def __init__(
        self, items: Iterator[Item], *, depth: int, on_start: Callable[[], None] | None = None
    ) -> None:
        """Start the thread. It keeps `depth` items ready and first calls `on_start`."""
        self._items = items
        self._depth = depth
        self._on_start = on_start
        self._ready: deque[Item] = deque()
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended or self._closed)
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
        raise StopIteration

    def close(self) -> None:
        """End the thread, which may first have to complete an item."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fill(self) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
            for item in self._items:
                if not self._add(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by __next__
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _add(self, item: Item) -> bool:
        """Append an item when there is room; return False if the prefetcher was closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
            if self._closed:
                return False
            self._ready.append(item)
            self._changed.notify_all()
            return True
