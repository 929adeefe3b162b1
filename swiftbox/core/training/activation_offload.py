"""Keep activations in main memory between the forward and the backward pass.

Autograd hands over each tensor that it saves, and asks for it when its gradient is computed. Large
ones are copied to pinned host memory on a separate stream while the device computes, and back when
they are needed; nothing is rounded. What several operations save is copied once each way. Weights
stay, be it a view, autocast's copy or a dequantized matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch.multiprocessing.reductions import StorageWeakRef

SMALLEST_BYTES = 2**20
"""Below this the start of a copy takes longer than the copy."""

MOST_QUEUED = 16
"""Copies one way that may be waiting: a layer saves 8 to 16 large tensors, so one or two layers."""

Loss = Callable[[Any, dict[str, Any]], Any]


class HostCopies(Protocol):
    """Moves tensors between the device and main memory."""

    def store(self, tensor: torch.Tensor) -> Any:
        """Copy a tensor to main memory; return what `fetch` needs."""

    def fetch(self, stored: Any) -> torch.Tensor:
        """Return a stored tensor on its device."""


class StreamCopies:
    """Copies through pinned memory on one stream, which orders a tensor's two copies.

    The processor is ahead of the device. What it may queue is limited both ways, because each copy
    that is not done occupies memory of the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.module: Any = torch.get_device_module(device)
        self.stream = self.module.Stream(device)
        self._leaving: deque[Any] = deque()
        self._returning: deque[Any] = deque()

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to pinned memory once the device has computed it."""
        stored = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self.stream.wait_stream(self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            stored.copy_(tensor, non_blocking=True)
        tensor.record_stream(self.stream)  # its memory is reused after the copy only
        self._limit(self._leaving, self.stream)
        return stored

    def fetch(self, stored: torch.Tensor) -> torch.Tensor:
        """Copy a tensor back; the computation waits for it, the processor for much older ones."""
        self._limit(self._returning, self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            tensor = stored.to(self.device, non_blocking=True)
        current = self.module.current_stream(self.device)
        current.wait_stream(self.stream)
        tensor.record_stream(current)
        return tensor

    def _limit(self, queued: deque[Any], stream: Any) -> None:
        """Mark the place in a stream; wait until the device has passed the oldest marks."""
        event = self.module.Event()
        event.record(stream)
        queued.append(event)
        if len(queued) > MOST_QUEUED:
            queued.popleft().synchronize()


class Weights:
    """Tells the weights of a network among the tensors that autograd saves."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._shapes = weight_shapes(network)
        self._storages = _storages(network)

    def update(self) -> None:
        """Note where the weights are now: they may have been moved or cast."""
        self._storages = _storages(self._network)

    def include(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a weight, a view of one, or shaped like a copy of one."""
        return (
            tensor.untyped_storage().data_ptr() in self._storages
            or tuple(tensor.shape) in self._shapes
        )


@dataclass(frozen=True)
class Offload:
    """Which saved tensors move, and how."""

    copies: HostCopies
    weights: Weights
    smallest_bytes: int = SMALLEST_BYTES
    _stored: WeakValueDictionary[Any, _Stored] = field(default_factory=WeakValueDictionary)

    def pack(self, tensor: torch.Tensor) -> Any:
        """Store a tensor that autograd saves; return others as they are."""
        if not self.moves(tensor):
            return tensor
        key = _identity(tensor)
        stored = self._stored.get(key)
        if stored is None or stored.source.expired():
            source = StorageWeakRef(tensor.untyped_storage())
            stored = _Stored(self.copies, self.copies.store(tensor), source)
            self._stored[key] = stored
        return _Saved(stored)

    def unpack(self, packed: Any) -> torch.Tensor:
        """Return the tensor for the backward pass."""
        if isinstance(packed, _Saved):
            return packed.tensor()
        tensor: torch.Tensor = packed
        return tensor

    def moves(self, tensor: torch.Tensor) -> bool:
        """Whether a saved tensor is an activation of some size; all layers share one mask."""
        is_large = tensor.numel() * tensor.element_size() >= self.smallest_bytes
        return tensor.is_floating_point() and is_large and not self.weights.include(tensor)


class _Stored:
    """A tensor in main memory, which the operations that saved it share.

    `source` keeps the identity of its storage from being used again while this one exists.
    """

    def __init__(self, copies: HostCopies, value: Any, source: StorageWeakRef) -> None:
        self.copies, self.value, self.source = copies, value, source
        self.waiting = 0
        self._fetched: torch.Tensor | None = None

    def tensor(self, *, is_first: bool) -> torch.Tensor:
        """Return the tensor on its device, where it stays until all have read it."""
        tensor = self.copies.fetch(self.value) if self._fetched is None else self._fetched
        self.waiting -= is_first
        self._fetched = tensor if self.waiting > 0 else None
        return tensor


class _Saved:
    """What one operation saved. A second backward pass reads it again."""

    def __init__(self, stored: _Stored) -> None:
        self._stored, self._is_read = stored, False
        stored.waiting += 1

    def tensor(self) -> torch.Tensor:
        is_first, self._is_read = not self._is_read, True
        return self._stored.tensor(is_first=is_first)


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what two tensors with the same numbers in the same memory have in common.

    The version counts changes in place. One that it misses changes also what autograd itself keeps.
    """
    storage, offset = tensor.untyped_storage()._cdata, tensor.storage_offset()
    view = (offset, tensor.shape, tensor.stride(), tensor.dtype, tensor.is_neg())
    return (storage, tensor._version, *view)


def offload_of(network: Any, device: torch.device) -> Offload:
    """Return how the activations of a network on a device move."""
    return Offload(StreamCopies(device), Weights(network))


def _storages(network: Any) -> frozenset[int]:
    """Return the addresses of all weights and buffers; quantized ones are compact."""
    tensors = (*network.parameters(), *network.buffers())
    return frozenset(tensor.untyped_storage().data_ptr() for tensor in tensors) - {0}


def weight_shapes(network: Any) -> frozenset[tuple[int, ...]]:
    """Return the shapes of all weights and packed matrices, also transposed.

    Stacked experts (E, H, I) are used as a whole or one by one.
    """
    shapes = {tuple(weight.shape) for weight in network.parameters()}
    for module in network.modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            shapes.add((module.out_features, module.in_features))
    return frozenset(form for shape in shapes for form in _forms(shape))


def _forms(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield shape
    yield shape[::-1]
    if len(shape) > 2:
        yield (*shape[:-2], shape[-1], shape[-2])
        yield shape[-2:]
        yield shape[:-3:-1]


def offloading(loss: Loss, offload: Offload) -> Loss:
    """Return the loss whose activations are kept in main memory until its backward pass."""
    return partial(_offloaded, loss, offload)


def _offloaded(loss: Loss, offload: Offload, model: Any, batch: dict[str, Any]) -> Any:
    offload.weights.update()
    with torch.autograd.graph.saved_tensors_hooks(offload.pack, offload.unpack):
        return loss(model, batch)
