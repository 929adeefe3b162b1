"""Repeat an update in smaller micro-batches when the device is out of memory.

The loss of an update is a sum over its rows, so a smaller split gives the same update. An error in
a forward or backward pass leaves only gradients behind, which are discarded: the update begins
again with the random numbers that it began with, and its result is that of a run with this split.
An error in the optimizer is not repeated, since part of the weights are changed by then.

Processes that hold complete weights compute their micro-batches alone until the last pass, which
averages the gradients; so each of them can choose its split, except in that pass. Its forward half
already tells torch's reducer to average at the next backward pass: a repeat in halves would
average the gradient of its first half.
Sharded weights are gathered in every pass by all processes together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from swiftbox.core.training.parallel import is_sharded
from swiftbox.errors import ConfigError, MemoryLimitError
from swiftbox.files import write_json
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.diagnosis import first_line
from swiftbox.runs.plain_files import read_record


@dataclass(frozen=True)
class SplitLimits:
    """What limits how an update may be split."""

    fewest_units: int = 1
    """Fewest units of a micro-batch that the method can learn from."""
    couples_rows: bool = False
    """Whether the loss of a row depends on the other rows of its micro-batch."""
    sharded: bool = False
    """Whether all processes must compute the same number of micro-batches."""
    hint: str = ""
    """What lowers the memory of the smallest micro-batch."""


UNLIMITED = SplitLimits()


def split_limits(config: Any, method: Any) -> SplitLimits:
    """Return the limits of a config."""
    return SplitLimits(
        fewest_units=_fewest_units(config),
        couples_rows=method.couples_rows(config),
        sharded=is_sharded(config),
        hint=_hint(config),
    )


def _fewest_units(config: Any) -> int:
    for units in range(1, config.micro_batch):
        with contextlib.suppress(ConfigError):
            config.model_copy(
                update={"per_device_train_batch_size": units}
            ).require_valid_batch_size()
            return units
    return int(config.micro_batch)


def _hint(config: Any) -> str:
    settings = []
    if config.gradient_checkpointing == "false":
        settings.append("gradient_checkpointing: true")
    if config.tuner_type == "lora":
        settings.append("tuner_type: qlora")
    settings.append(text("a smaller max_length", "更小的 max_length"))
    listed = text(", or ", "，或 ").join(settings)
    return text(
        f"set {listed}; or use a device with more memory", f"请设 {listed}；或换用显存更大的设备"
    )


def smaller_split(update_units: int, micro_units: int, fewest: int = 1) -> int | None:
    """Return the largest divisor of the update that is at most half; None if there is none.

    A divisor can be written as per_device_train_batch_size with gradient_accumulation_steps.
    """
    fitting = (
        units for units in range(micro_units // 2, fewest - 1, -1) if update_units % units == 0
    )
    return next(fitting, None)


def free_memory() -> None:
    """Return unused memory to the device; call it after the error and its frames are gone."""
    clear_device_cache(garbage_collection=True)


@dataclass(frozen=True)
class RandomStates:
    """The states of the random number generators of the CPU and of the current device."""

    cpu: torch.Tensor
    device: torch.Tensor | None

    @classmethod
    def now(cls) -> RandomStates:
        """Copy the states; a device's is a seed and an offset that the host keeps: no waiting."""
        module = _device_module()
        return cls(torch.get_rng_state(), module.get_rng_state() if module else None)

    def restore(self) -> None:
        """Let the generators draw the same numbers again."""
        torch.set_rng_state(self.cpu)
        module = _device_module()
        if module is not None and self.device is not None:
            module.set_rng_state(self.device)


def _device_module() -> Any:
    """Return torch's module of the accelerator; None if there is none."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return None if device is None else torch.get_device_module(device)


def limit_error(error: BaseException, *, units: int, tokens: int, limits: SplitLimits) -> Exception:
    """Return the error for the smallest micro-batch that does not fit."""
    cause = first_line(error)
    return MemoryLimitError(
        text(
            f"out of memory with a batch of {units} (the smallest possible, {tokens} tokens): "
            f"{cause}",
            f"批大小已减到最小值 {units}（{tokens} 个 token），内存仍不足：{cause}",
        ),
        hint=limits.hint,
    )


def together_error(error: BaseException, *, update_units: int, micro_units: int) -> Exception:
    """Return the error for a pass that all processes compute together, which is not repeated."""
    cause = first_line(error)
    smaller = smaller_split(update_units, micro_units) or 1
    return MemoryLimitError(
        text(
            f"out of memory in a pass that all processes compute together, so this one cannot "
            f"repeat it with less: {cause}",
            f"内存不足；该次计算由所有进程共同完成，单个进程无法减小批大小后重算：{cause}",
        ),
        hint=text(
            f"set per_device_train_batch_size: {smaller} and gradient_accumulation_steps: "
            f"{update_units // smaller}",
            f"请设 per_device_train_batch_size: {smaller}，"
            f"gradient_accumulation_steps: {update_units // smaller}",
        ),
    )


def remember_split(folder: Path, units: int, *, before: int) -> None:
    """Record the units of a micro-batch in the run folder, for when the run is resumed."""
    write_json(folder / run_folder.SPLIT, {"units": units, "before": before})


def remembered_split(folder: Path, *, before: int) -> int:
    """Return the units of a micro-batch that an earlier start of this run ended with.

    `before` is the setting; a record for another setting does not count.
    """
    record = read_record(folder / run_folder.SPLIT)
    units = record.get("units")
    if record.get("before") != before or not isinstance(units, int):
        return before
    return units if 1 <= units <= before else before


def device_bytes() -> int | None:
    """Return the memory of the accelerator; None if there is none or it does not say."""
    read: Callable[[], tuple[int, int]] | None
    read = getattr(_device_module(), "mem_get_info", None)
    return int(read()[1]) if read is not None else None
