"""A device that runs out of memory: the run halves its batches and goes through."""

from __future__ import annotations

import pytest
import torch
from on_device import OnDevice

SHARE_LEFT = 0.6
"""Of the peak of a large batch: too little for it, enough for a quarter of it."""


@pytest.mark.gpu("torch_device")
def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_losses(
    on_device: OnDevice, accelerator: str
) -> None:
    if accelerator != "cuda":
        pytest.skip("only CUDA's allocator can be limited")
    keys = {"per_device_train_batch_size": 32, "max_length": 1024, "max_steps": 2}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    plain = on_device.train("plain", **keys)
    peak = torch.cuda.max_memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SHARE_LEFT * peak / total)
    try:
        limited = on_device.train("limited", **keys)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert limited.losses == pytest.approx(plain.losses, rel=1e-2)
    assert limited.of_kind("warning") or limited.of_kind("note")
