"""Memory of tasks other than training: serving with its key-value cache, quantizing, merging."""

from __future__ import annotations

from dataclasses import dataclass

from swiftbox.fit.memory import BYTES_PER_WEIGHT
from swiftbox.fit.shape import ModelShape

SPARE = 0.5
"""The built-in engine's cache grows by half; a paged cache has almost no spare room."""


@dataclass(frozen=True)
class Need:
    """Bytes on each device, and in the host's memory."""

    device: float
    host: float


def cache_bytes_per_token(shape: ModelShape, *, bytes_each: float = 2.0) -> float:
    """Return the key-value cache per token in bytes: 2 x layers x kv_heads x head_dim values."""
    return 2 * shape.layers * shape.key_width * bytes_each


def serving(
    shape: ModelShape,
    *,
    storage: str = "bfloat16",
    context: int = 4096,
    concurrency: int = 1,
    spare: float = SPARE,
) -> Need:
    """Return the memory of serving: weights, the cache of all requests, one pass's activations.

    `storage`: of the weights; `auto` is a GGUF file, whose types have 16 bits or fewer.
    `spare`: the share of the cache that the engine reserves for tokens to come.
    """
    storage = "float16" if storage == "auto" else storage
    weights = shape.inside * BYTES_PER_WEIGHT[storage]
    weights += shape.outside * max(2.0, BYTES_PER_WEIGHT[storage] if storage == "float32" else 2.0)
    each = 4.0 if storage == "float32" else 2.0
    cache = cache_bytes_per_token(shape, bytes_each=each) * context * concurrency * (1 + spare)
    rows = min(context, 8192)
    work = rows * 2 * (shape.hidden * 4 + shape.layer_width * 2) + concurrency * shape.vocab * 4
    return Need(weights + cache + work, 0.0)


def quantizing(shape: ModelShape, *, samples: int = 128, length: int = 2048) -> Need:
    """Return the memory of GPTQ or AWQ: the model in the host, a layer and its inputs on a device.

    A layer's second moments (the Hessian of its inputs, arXiv:2210.17323, section 3) are float32,
    as wide as its widest input; the calibration's hidden states stay in the host's memory.
    """
    widest = max(shape.intermediate, shape.hidden)
    layer = shape.inside / shape.layers
    hessian = 3 * widest * widest * 4.0
    states = 2 * samples * length * shape.hidden * 2.0
    return Need(layer * 4 + hessian + shape.table * 2, shape.params * 2.0 + states)


def merging(shape: ModelShape) -> Need:
    """Return the least memory of a merge: a layer, the tables and a matrix's copies in float32."""
    matrix = shape.hidden * max(shape.intermediate, shape.hidden) * 4.0
    tables = (shape.params - shape.inside) * 4.0
    return Need(0.0, shape.inside / shape.layers * 4.0 + tables + 4 * max(matrix, tables / 2))
