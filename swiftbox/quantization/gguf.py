"""The types of GGUF files: their names in llama.cpp, and their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

FILE = "model.gguf"

TYPES: Mapping[int, str] = {4: "Q4_K_M", 5: "Q5_K_M", 6: "Q6_K", 8: "Q8_0", 16: "F16"}
"""What llama.cpp calls a file of so many bits per weight."""

FTYPES: Mapping[str, int] = {"F16": 1, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}
"""The numbers of these types in llama.cpp's `llama_ftype`."""

BITS_PER_WEIGHT: Mapping[int, float] = {4: 4.9, 5: 5.7, 6: 6.6, 8: 8.5, 16: 16.0}
"""Mean over the matrices; K types keep some of them in more bits than the name says."""

FALLBACK_BITS: Mapping[int, float] = {4: 6.5, 5: 7.0, 6: 8.5, 8: 8.5, 16: 16.0}
"""The same where rows are no multiple of 256, and K types become Q5_0, Q5_1 and Q8_0."""

K_WIDTH = 256
"""Weights of a block of the K types."""

UNQUANTIZED = ("F32", "F16", "BF16")
"""Types of tensors that are not quantized."""


def estimated_bytes(shapes: Iterable[tuple[int, ...]], bits: int) -> float:
    """Estimate the size of a file of so many bits per weight; vectors stay in float32."""
    return sum(_estimated_bytes(shape, bits) for shape in shapes)


def _estimated_bytes(shape: tuple[int, ...], bits: int) -> float:
    if len(shape) < 2:
        return 4.0 * math.prod(shape)
    fits = shape[-1] % K_WIDTH == 0
    return math.prod(shape) * (BITS_PER_WEIGHT if fits else FALLBACK_BITS)[bits] / 8
