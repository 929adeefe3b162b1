"""Weights that a task makes: in memory up to a limit, the others in mapped files of a folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch


class WeightStore:
    """Keeps tensors. Those over the limit are mapped from files, which end with their process."""

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self.folder = folder
        self.left = memory_bytes

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor with the same values, in memory or in a file; OSError without room."""
        size = tensor.numel() * tensor.element_size()
        if size <= self.left or not size:
            self.left -= size
            return tensor
        # The file has no name once it is mapped: it cannot outlive a killed process.
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".weights-") as file:
            _allocate(file.fileno(), size)
            mapped = torch.from_file(
                file.name, shared=True, size=tensor.numel(), dtype=tensor.dtype
            )
        return mapped.view(tensor.shape).copy_(tensor)


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the bytes of a file: a full disk would kill the process at a mapped page."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
