"""The memory and the disk that a mix takes, and whether this machine has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from swiftbox.config.mix import MixConfig
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.models.merge_checks import BYTES, BaseWeights
from swiftbox.models.merge_resources import merge_needs, require_disk, require_memory
from swiftbox.models.unservable_adapters import PEFT_RANK

COPIES = 5
"""Of a tensor for each part, in float32: read, converted, its change, stacked, weighted."""

SHARED_COPIES = 4
"""Of a tensor in float32: the base, the signs, the mix, and the result."""


def require_mix_resources(models: Sequence[BaseWeights], folder: Path, config: MixConfig) -> None:
    """Raise MachineError when the disk or the memory is too small to mix models.

    Each file of weights is filled in memory.
    """
    dtype = "stored" if config.dtype == "auto" else config.dtype
    written = models[0].bytes_as(dtype)
    require_disk(written, folder, text("mixed model", "混合后的模型"))
    largest = max((4.0 * math.prod(shape) for shape in models[0].shapes.values()), default=0.0)
    mixing = largest * (COPIES * len(models) + SHARED_COPIES) + min(written, config.shard_bytes)
    _require_memory(max(mixing, merge_needs(models[0], ()).memory))


def require_adapter_mix_resources(
    base_model: BaseWeights, adapters: Sequence[Adapter], folder: Path, config: MixConfig
) -> None:
    """Raise MachineError when the disk or the memory is too small to mix adapters."""
    numbers = sum(math.prod(shape) for adapter in adapters for shape in adapter.shapes.values())
    if config.lora_rank is not None:
        ranks = [int(adapter.config.get("r", PEFT_RANK)) for adapter in adapters]
        numbers = round(numbers * max(1.0, config.lora_rank / max(1, sum(ranks))))
    dtype = config.dtype if config.dtype in BYTES else "float32"
    require_disk(numbers * BYTES[dtype], folder, text("mixed adapter", "混合后的适配器"))
    layers = {layer for adapter in adapters for layer in adapter.layers}
    shapes = [base_model.shapes.get(f"{layer}.weight", ()) for layer in layers]
    largest = max((4.0 * math.prod(shape) for shape in shapes), default=0.0)
    mixing = largest * (COPIES * len(adapters) + SHARED_COPIES) + 12.0 * numbers
    _require_memory(merge_needs(base_model, ()).memory + mixing)


def _require_memory(needs: float) -> None:
    hint = text("mix on a machine with more memory", "请在内存更大的机器上混合")
    require_memory(needs, text("mixing", "混合"), hint)
