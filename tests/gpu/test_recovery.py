"""A device that runs out of memory: the update is repeated in smaller micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from on_device import OnDevice
from tiny import write_texts

SHARE_LEFT = 0.7
"""Of the peak of the large batch: too little for it, enough for a half of it."""

ROWS, TOKENS = 32, 900


@pytest.mark.gpu("torch_device")
def test_a_batch_that_does_not_fit_is_split_and_gives_the_same_losses(
    on_device: OnDevice, accelerator: str, tmp_path: Path
) -> None:
    if accelerator != "cuda":
        pytest.skip("only CUDA's allocator can be limited")
    keys = {
        "stage": "pt",
        "dataset": write_texts(tmp_path / "long.txt", 60 * ROWS),
        "packing": True,
        "max_length": TOKENS,
        "per_device_train_batch_size": ROWS,
        "gradient_checkpointing": "false",
        "max_steps": 2,
    }
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    plain = on_device.train("plain", **keys)
    peak = torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SHARE_LEFT * peak / total)
    try:
        limited = on_device.train("limited", **keys)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert limited.of_kind("smaller_batch")
    # The same sums in another order.
    assert limited.losses == pytest.approx(plain.losses, rel=1e-2)
