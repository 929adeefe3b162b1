"""The memory and the disk that an extraction takes, and whether this machine has them."""

from __future__ import annotations

import math
from pathlib import Path

from swiftbox.config.extract import ExtractConfig
from swiftbox.language import text
from swiftbox.models.merge_checks import BYTES, BaseWeights
from swiftbox.models.merge_resources import EXPERT, LAYER, merge_needs, require_disk, require_memory

COPIES = 4
"""Of a matrix in float32 while it is decomposed: itself, and the tables of an exact one."""


def adapter_bytes(model: BaseWeights, config: ExtractConfig) -> float:
    """Return the bytes of an adapter of the largest rank, with all that it may save whole."""
    rank = config.max_rank if config.lora_rank == "auto" else config.lora_rank
    numbers = 0.0
    for name, shape in model.shapes.items():
        is_layer = len(shape) >= 2 and bool(LAYER.match(name) or EXPERT.search(name))
        if is_layer:
            numbers += math.prod(shape[:-2]) * min(rank, *shape[-2:]) * sum(shape[-2:])
        elif config.other_changes == "save" or _is_saved(name, config):
            numbers += math.prod(shape)
    return numbers * BYTES["float32" if config.dtype == "auto" else config.dtype]


def _is_saved(name: str, config: ExtractConfig) -> bool:
    return any(f".{module}." in f".{name}" for module in config.modules_to_save)


def require_extract_resources(
    models: tuple[BaseWeights, BaseWeights], folder: Path, config: ExtractConfig
) -> None:
    """Raise MachineError, with both numbers, when the disk or the memory is too small.

    `models` are the base and the tuned model, which are both mapped from their files.
    """
    written = adapter_bytes(models[1], config)
    require_disk(
        written,
        folder,
        text("adapter at its largest", "适配器（最大时）"),
        text(
            "free some space, set a smaller lora_rank, or set output_dir to a folder on "
            "another disk",
            "请清理磁盘、减小 lora_rank，或将 output_dir 设到其他磁盘",
        ),
    )
    largest = max((4.0 * math.prod(shape[-2:]) for shape in models[1].shapes.values()), default=0.0)
    needs = sum(merge_needs(model, ()).memory for model in models)
    require_memory(
        needs + written + COPIES * largest,
        text("extracting", "提取"),
        text(
            "set a smaller lora_rank, or extract on a machine with more memory",
            "请减小 lora_rank，或在内存更大的机器上提取",
        ),
    )
