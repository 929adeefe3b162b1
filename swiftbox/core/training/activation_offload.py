"""Keep activations in main memory between the forward and the backward pass.

Autograd hands over each tensor that it saves, and asks for it when its gradient is computed. Large
ones are copied to pinned host memory on a separate stream while the device computes, and back when
they are needed; nothing is rounded. Weights stay: a tensor on a device that has the
shape of a weight is taken for one, be it a view, autocast's copy or a dequantized matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

SMALLEST_BYTES = 2**20
"""Below this the start of a copy takes longer than the copy."""

Loss = Callable[[Any, dict[str, Any]], Any]


class HostCopies(Protocol):
    """Moves tensors between the device and main memory."""

    def store(self, tensor: torch.Tensor) -> Any:
        """Copy a tensor to main memory; return what `fetch` needs."""

    def fetch(self, stored: Any) -> torch.Tensor:
        """Return a stored tensor on its device."""


class StreamCopies:
    """Copies through pinned memory on one stream, which orders a tensor's two copies."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.module: Any = torch.get_device_module(device)
        self.stream = self.module.Stream(device)

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to pinned memory once the device has computed it."""
        stored = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self.stream.wait_stream(self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            stored.copy_(tensor, non_blocking=True)
        tensor.record_stream(self.stream)  # its memory is reused after the copy only
        return stored

    def fetch(self, stored: torch.Tensor) -> torch.Tensor:
        """Copy a tensor back; the computation waits for it, the processor does not."""
        with self.module.stream(self.stream):
            tensor = stored.to(self.device, non_blocking=True)
        current = self.module.current_stream(self.device)
        current.wait_stream(self.stream)
        tensor.record_stream(current)
        return tensor


@dataclass(frozen=True)
class Offload:
    """Which saved tensors move, and how."""

    copies: HostCopies
    weight_shapes: frozenset[tuple[int, ...]]
    smallest_bytes: int = SMALLEST_BYTES

    def pack(self, tensor: torch.Tensor) -> Any:
        """Store a tensor that autograd saves; return others as they are."""
        if not self.moves(tensor):
            return tensor
        return _Stored(self.copies.store(tensor))

    def unpack(self, packed: Any) -> torch.Tensor:
        """Return the tensor for the backward pass."""
        if isinstance(packed, _Stored):
            return self.copies.fetch(packed.value)
        tensor: torch.Tensor = packed
        return tensor

    def moves(self, tensor: torch.Tensor) -> bool:
        """Whether a saved tensor is an activation of some size; all layers share one mask."""
        is_large = tensor.numel() * tensor.element_size() >= self.smallest_bytes
        return (
            tensor.is_floating_point()
            and is_large
            and tuple(tensor.shape) not in self.weight_shapes
        )


@dataclass(frozen=True)
class _Stored:
    value: Any


def offload_of(network: Any, device: torch.device) -> Offload:
    """Return how the activations of a network on a device move."""
    return Offload(StreamCopies(device), weight_shapes(network))


def weight_shapes(network: Any) -> frozenset[tuple[int, ...]]:
    """Return the shapes of all weights, also transposed, and of the matrices that are packed."""
    shapes = {tuple(weight.shape) for weight in network.parameters()}
    for module in network.modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            shapes.add((module.out_features, module.in_features))
    return frozenset(shapes) | _reversed(shapes)


def _reversed(shapes: Iterable[tuple[int, ...]]) -> frozenset[tuple[int, ...]]:
    return frozenset(shape[::-1] for shape in shapes)


def offloading(loss: Loss, offload: Offload) -> Loss:
    """Return the loss whose activations are kept in main memory until its backward pass."""
    return partial(_offloaded, loss, offload)


def _offloaded(loss: Loss, offload: Offload, model: Any, batch: dict[str, Any]) -> Any:
    with torch.autograd.graph.saved_tensors_hooks(offload.pack, offload.unpack):
        return loss(model, batch)
