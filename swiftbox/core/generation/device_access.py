"""The few ways in which the loop exchanges data with its device, and asks about its state."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from swiftbox.runs.diagnosis import first_line, is_out_of_memory


def upload(values: Sequence[Any], dtype: torch.dtype, device: Any) -> torch.Tensor:
    """Return values as a tensor on the device, without waiting for work in its queue.

    The values are few: CUDA and HIP copy them aside before the call returns, so that no pinned
    memory is needed. Other backends may still read them after it, so there it waits.
    """
    target = torch.device(device)
    return torch.tensor(values, dtype=dtype).to(target, non_blocking=has_graphs(target))


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


def release_memory(error: BaseException) -> None:
    """Free what an error holds: first the tensors of its traceback, then unused cached blocks."""
    chained: BaseException | None = error
    while chained is not None:
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
    clear_device_cache()


def device_failure(device: Any) -> str:
    """Return why a device no longer computes; empty if it does.

    After an illegal access, a failed assertion in a kernel, or a memory error of the hardware,
    every later call of the process fails too: a tiny computation shows it.
    """
    try:
        if int(torch.ones(1, device=device).add_(1).item()) == 2:
            return ""
    except RuntimeError as error:
        return "" if is_out_of_memory(error) else first_line(error)
    return "1 + 1 is not 2"
