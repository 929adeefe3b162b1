"""The few ways in which the loop exchanges data with its device, and asks about its state."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from typing import Any

import torch

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
    "STATUS_NOT_ENOUGH_WORKSPACE",
)
"""What errors say that are no torch.OutOfMemoryError: host memory, cuBLAS, cuDNN, other drivers."""


def upload(values: Sequence[Any], dtype: torch.dtype, device: Any) -> torch.Tensor:
    """Return values as a tensor on the device, without waiting for work in its queue.

    The values are few: drivers copy them aside before the call returns, so that no pinned memory
    is needed.
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


class HostCopy:
    """A copy of a tensor to the host, which is made beside the device's later work."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event: Any = None
        if has_graphs(tensor.device):
            self._copy = tensor.to("cpu", non_blocking=True)
            self._event = device_module(tensor.device).Event()
            self._event.record()
        else:
            self._copy = tensor

    def read(self) -> torch.Tensor:
        """Wait until the copy is complete, and return it: the single wait of a step."""
        if self._event is None:
            return self._copy.cpu()
        self._event.synchronize()
        return self._copy


def device_module(device: Any) -> Any:
    """Return torch's module of a device, such as torch.cuda; None if it has none."""
    return getattr(torch, device.type, None)


def has_graphs(device: Any) -> bool:
    """Return whether a device can record its work as a graph and replay it."""
    return hasattr(device_module(device), "CUDAGraph")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is used up, whichever library raised it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)


def release_memory(error: BaseException) -> None:
    """Free what an error holds: first the tensors of its traceback, then unused cached blocks."""
    chained: BaseException | None = error
    while chained is not None:
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
    gc.collect(0)
    if torch.accelerator.is_available():
        module = device_module(torch.accelerator.current_accelerator())
        if hasattr(module, "empty_cache"):
            module.empty_cache()


def device_failure(device: Any) -> str:
    """Return why a device no longer computes; empty if it does.

    After an illegal access, a failed assertion in a kernel, or a memory error of the hardware,
    every later call of the process fails too: a tiny computation shows it.
    """
    try:
        if int(torch.ones(1, device=device).add_(1).item()) == 2:
            return ""
    except RuntimeError as error:
        return "" if is_out_of_memory(error) else str(error).splitlines()[0]
    return "1 + 1 is not 2"
