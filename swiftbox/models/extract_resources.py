"""The memory and the disk that an extraction takes, and whether this machine has them."""

from __future__ import annotations

import math
from pathlib import Path

from swiftbox.config.extract import ExtractConfig
from swiftbox.devices import host
from swiftbox.errors import MachineError
from swiftbox.files import SPARE_BYTES, require_room
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models.merge_checks import BYTES, BaseWeights
from swiftbox.models.merge_resources import EXPERT, LAYER, LIBRARY_BYTES, merge_needs

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

    def refusal(needed: int, free: int) -> MachineError:
        return MachineError(
            text(
                f"adapter: up to {size(needed)} to write with a reserve of {size(SPARE_BYTES)}, "
                f"{size(free)} free at {folder}; nothing was written",
                f"适配器：连同预留的 {size(SPARE_BYTES)} 最多需 {size(needed)}，"
                f"{folder} 仅剩 {size(free)}；未写入任何内容",
            ),
            hint=text(
                "free some space, set a smaller lora_rank, or set output_dir to a folder on "
                "another disk",
                "请清理磁盘、减小 lora_rank，或将 output_dir 设到其他磁盘",
            ),
        )

    require_room(folder, round(written) + SPARE_BYTES, refusal)
    _require_memory(models, written)


def _require_memory(models: tuple[BaseWeights, BaseWeights], written: float) -> None:
    largest = max((4.0 * math.prod(shape[-2:]) for shape in models[1].shapes.values()), default=0.0)
    needs = sum(merge_needs(model, ()).memory for model in models)
    needed, total = round(needs + written + COPIES * largest + LIBRARY_BYTES), host.memory()[0]
    if needed > total:
        raise MachineError(
            text(
                f"extracting takes {size(needed)} of memory, this machine has {size(total)}",
                f"提取需要 {size(needed)} 内存，本机有 {size(total)}",
            ),
            hint=text(
                "set a smaller lora_rank, or extract on a machine with more memory",
                "请减小 lora_rank，或在内存更大的机器上提取",
            ),
        )
