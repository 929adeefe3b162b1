"""The bytes of tensors alive at once, counted operation by operation: what allocation costs.

What a file maps into memory is not an operation's result and does not count. The count is that of
one thread.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all storages that operations allocate while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {key for _, key in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage, key in _storages(result):
            if key not in inputs and key not in self._known:
                self._add(storage, key)
        return result

    def _add(self, storage: Any, key: int) -> None:
        size = storage.nbytes()
        self._known.add(key)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def _storages(values: Any) -> list[tuple[Any, int]]:
    """Return the storages of all tensors that have bytes in memory, with their addresses."""
    tensors = [leaf for leaf in tree_leaves(values) if hasattr(leaf, "untyped_storage")]
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device.type != "meta"]
    allocated = [storage for storage in storages if storage.filename is None]
    return [(storage, storage._cdata) for storage in allocated]
