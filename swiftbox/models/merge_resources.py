"""The memory and the disk that a merge takes, and whether this machine has them.

The base is mapped from its files. Its layers are converted to float32 one by one; what a merge
changes is kept in float32, in free memory or in files beside the result.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftbox.devices import host
from swiftbox.errors import MachineError
from swiftbox.files import SPARE_BYTES, require_room
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.models.merge_checks import BaseWeights

FREE_SHARE = 0.8
"""Of the free memory, half for merged weights and half for float32 copies of the others."""

LAYER = re.compile(r"^.*?\.\d+\.")
"""The part of a weight's name that is common to its layer: up to the first number."""

EXPERT = re.compile(r"\.experts\.\d+\.")
"""Weights that transformers joins to one per layer when it loads them."""

COPIES = 4
"""Of a matrix while it is merged: in float32, its copy, the adapter's product, the stored one."""

QUANTIZED_SHARE = 0.3
"""A quantized copy with 16-bit embeddings, as a share of the model in float32."""

LIBRARY_BYTES = 1.5 * 2**30


@dataclass(frozen=True)
class MergeNeeds:
    """Bytes that a merge takes at the same time."""

    memory: float
    """The least: with more, fewer weights are converted or read again."""
    merged: float
    """Changed weights in float32, which are written to the disk if memory has no room."""


def merge_needs(
    base_model: BaseWeights, adapters: Sequence[Adapter], *, quantized: bool = False
) -> MergeNeeds:
    """Return what a merge takes.

    `quantized`: the adapter was trained on a quantized base, which is compared as well.
    """
    layers: defaultdict[str, float] = defaultdict(float)
    outside = largest = joined = 0.0
    for name, shape in base_model.shapes.items():
        converted = 4.0 * math.prod(shape)
        largest = max(largest, converted)
        joined += converted / 2 if EXPERT.search(name) else 0
        layer = LAYER.match(name)
        if layer:
            layers[layer[0]] += converted
        else:
            outside += converted
    memory = max(layers.values(), default=0.0) + outside + COPIES * largest + joined
    if quantized:
        memory += QUANTIZED_SHARE * base_model.bytes_as("float32")
    return MergeNeeds(memory, _merged_bytes(base_model, adapters, quantized=quantized))


def _merged_bytes(
    base_model: BaseWeights, adapters: Sequence[Adapter], *, quantized: bool
) -> float:
    """Return the float32 bytes of the weights that adapters change; all of them if in doubt."""
    adapted = {layer for adapter in adapters for layer in adapter.layers}
    known = {f"{layer}.weight" for layer in adapted} & base_model.shapes.keys()
    if quantized or len(known) < len(adapted) or not adapted:
        return float(base_model.bytes_as("float32"))
    return sum(4.0 * math.prod(base_model.shapes[name]) for name in known)


def require_resources(base_model: BaseWeights, folder: Path, dtype: str, needs: MergeNeeds) -> None:
    """Raise MachineError, with both numbers, when the disk or memory is too small for a merge."""
    beyond_memory = max(0.0, needs.merged - FREE_SHARE * host.memory()[1] / 2)
    written = base_model.bytes_as(dtype) + round(beyond_memory)
    require_disk(written, folder, text("merged model", "合并后的模型"))
    require_memory(
        needs.memory,
        text("merging", "合并"),
        text("merge on a machine with more memory", "请在内存更大的机器上合并"),
    )


def require_disk(written: float, folder: Path, what: str, hint: str = "") -> None:
    """Raise MachineError, with both numbers, when a folder has no room for a result."""

    def refusal(needed: int, free: int) -> MachineError:
        return MachineError(
            text(
                f"{what}: {size(needed)} to write with a reserve of {size(SPARE_BYTES)}, "
                f"{size(free)} free at {folder}; nothing was written",
                f"{what}：连同预留的 {size(SPARE_BYTES)} 共需 {size(needed)}，"
                f"{folder} 仅剩 {size(free)}；未写入任何内容",
            ),
            hint=hint
            or text(
                "free some space, or set output_dir to a folder on another disk",
                "请清理磁盘，或将 output_dir 设到其他磁盘",
            ),
        )

    require_room(folder, round(written) + SPARE_BYTES, refusal)


def require_memory(bytes_needed: float, doing: str, hint: str) -> None:
    """Raise MachineError, with both numbers, when the memory is too small for work with weights."""
    needed, total = round(bytes_needed + LIBRARY_BYTES), host.memory()[0]
    if needed > total:
        raise MachineError(
            text(
                f"{doing} takes {size(needed)} of memory, this machine has {size(total)}",
                f"{doing}需要 {size(needed)} 内存，本机有 {size(total)}",
            ),
            hint=hint,
        )
