"""Settle the rows per forward pass of a training; pure."""

from __future__ import annotations

from collections.abc import Iterator

from swiftbox.config.train import TrainConfig
from swiftbox.language import text
from swiftbox.tasks.task import Reason

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"


def settle_batch(config: TrainConfig) -> Iterator[Reason]:
    """Yield the rows per pass and the passes per update, whose product stays as it is."""
    if config.per_device_train_batch_size != "auto":
        return
    rows = config.gradient_accumulation_steps
    usual = config.usual_micro_batch
    if usual is None:
        why = text("one row per forward pass needs the least memory", "每次前向一行最省内存")
        batch = 1
    else:
        batch = _nearest_divisor(rows, usual)
        why = text(
            f"the loss depends on the rows of a forward pass; usual: {usual}",
            f"损失与每次前向的行数有关；常用 {usual}",
        )
    yield Reason(BATCH, batch, why)
    passes = text(f"{rows} rows per update and device", f"每个设备每次更新 {rows} 行")
    yield Reason(ACCUMULATION, rows // batch, passes)


def _nearest_divisor(rows: int, usual: int) -> int:
    """Return the largest divisor up to the usual size, but not 1 if there is another."""
    divisors = [size for size in range(2, rows + 1) if rows % size == 0]
    smaller = [size for size in divisors if size <= usual]
    return max(smaller) if smaller else min(divisors, default=1)
