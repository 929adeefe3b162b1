"""Rows per forward pass without an estimate: a loss depends on them, or nothing is known."""

from __future__ import annotations

from collections.abc import Iterator

from swiftbox.config.train import TrainConfig
from swiftbox.fit.candidates import BATCH, PASSES
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.task import Reason


def fixed_micro_batch(config: TrainConfig) -> int | None:
    """Return the rows of a forward pass if the loss depends on them; None if they are free."""
    if config.usual_micro_batch is not None:
        return config.usual_micro_batch
    method = METHODS[config.model_dump()["stage"]]
    return 1 if method.couples_rows(config) else None


def fixed_batch(config: TrainConfig) -> Iterator[Reason]:
    """Yield rows and passes of a method whose loss depends on the rows of a pass."""
    usual, rows = fixed_micro_batch(config), config.gradient_accumulation_steps
    if _is_too_small(config):
        yield from _larger_batch(config)
        return
    if config.per_device_train_batch_size != "auto" or usual is None:
        return
    batch = 1 if usual == 1 else _nearest_divisor(rows, usual)
    why = text(
        f"the loss depends on the rows of a forward pass, so they are not chosen by speed; "
        f"usual: {usual}",
        f"损失与每次前向的行数有关，因此不按速度选择；常用 {usual}",
    )
    yield Reason(BATCH, batch, why)
    yield Reason(PASSES, rows // batch, rows_per_update(rows))


def _is_too_small(config: TrainConfig) -> bool:
    """Return whether the requested rows are fewer than the method can learn from."""
    requested = config.per_device_train_batch_size
    return requested != "auto" and requested < config.smallest_micro_batch


def _larger_batch(config: TrainConfig) -> Iterator[Reason]:
    """Yield more rows per pass and fewer passes, with the same rows per update, if possible."""
    rows = config.micro_batch * config.gradient_accumulation_steps
    batch = _nearest_divisor(rows, config.usual_micro_batch or config.smallest_micro_batch)
    if batch < config.smallest_micro_batch:
        return
    stage = config.model_dump()["stage"]
    why = text(
        f"{stage} compares each prompt with other answers of its batch, so a batch of "
        f"{config.micro_batch} cannot be learned from; rows per update unchanged",
        f"{stage} 需要与同批其他回答比较，批大小 {config.micro_batch} 无法学习；每次更新的行数不变",
    )
    yield Reason(BATCH, batch, why)
    yield Reason(PASSES, rows // batch, rows_per_update(rows))


def safe_batch(config: TrainConfig) -> Iterator[Reason]:
    """Yield one row per pass, for a training of which nothing is known."""
    if config.per_device_train_batch_size != "auto":
        return
    why = text(
        "one row per forward pass needs the least memory; what fits is not known yet",
        "每次前向一行最省内存；目前还不知道放得下多少",
    )
    rows = config.gradient_accumulation_steps
    yield Reason(BATCH, 1, why)
    yield Reason(PASSES, rows, rows_per_update(rows))


def _nearest_divisor(rows: int, usual: int) -> int:
    """Return the largest divisor up to the usual size, but not 1 if there is another."""
    divisors = [count for count in range(2, rows + 1) if rows % count == 0]
    smaller = [count for count in divisors if count <= usual]
    return max(smaller) if smaller else min(divisors, default=1)


def rows_per_update(rows: int) -> str:
    """Write the rows that stay the same however they are split into passes."""
    return text(f"{rows} rows per update and device", f"每个设备每次更新 {rows} 行")
