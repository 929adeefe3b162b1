"""Time and memory of work on a device, and its rate of matrix products."""

from __future__ import annotations

import contextlib
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.accelerator.synchronize()


def milliseconds(work: Callable[[], Any], device: str, *, runs: int = 5, warm_up: int = 2) -> float:
    """Return the median milliseconds of `work`."""
    if device == "cpu":
        runs, warm_up = 1, 0
    for _ in range(warm_up):
        work()
    durations = []
    for _ in range(runs):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        durations.append((time.perf_counter() - began) * 1e3)
    return statistics.median(durations)


def free_memory(device: str) -> None:
    """Return cached memory to the device, and reset the peak."""
    gc.collect()
    if device != "cpu":
        with contextlib.suppress(RuntimeError, AttributeError):  # MPS keeps no such record
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats()


def peak_bytes(device: str) -> int:
    """Return the peak of tensors on the device since the reset, or that of the process."""
    from swiftbox.core.training.progress import peak_memory_bytes

    if device != "cpu":
        return peak_memory_bytes()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def growth_bytes(work: Callable[[], Any], device: str) -> int:
    """Return by how much `work` raises the peak over what is allocated before; 0 on a CPU."""
    if device == "cpu":
        work()
        return 0
    free_memory(device)
    before = peak_bytes(device)  # the reset sets the peak to what is allocated
    work()
    synchronize(device)
    return peak_bytes(device) - before


def matmul_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """Return the FLOP per second of the product of two square matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    elapsed = milliseconds(lambda: left @ right, device, runs=10, warm_up=5) / 1e3
    return 2.0 * size**3 / elapsed
