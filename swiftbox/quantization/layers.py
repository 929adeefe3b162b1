"""Which tensors of a model are to be quantized, what they then weigh, and whether they were.

Told from the headers of the files alone. Shapes: O outputs and I inputs of a layer, G a group.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.models import weights

WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Bytes of a number by the name that safetensors has for it; all others take one."""

STORED = {"float32": 4, "bfloat16": 2, "float16": 2}

BLOCK = re.compile(r"(?:^|\.)((?:layers|h|blocks|layer)\.\d+\..+)\.weight$")
"""A weight of the decoder's layers, by its name from the layer's list on."""

KEPT = re.compile(r"norm|rotary|embed|router|(?:^|\.)(?:gate|shared_expert_gate|wte|wpe)$")
"""Parts of layers that no method touches: norms, and what chooses among experts."""

BNB_BLOCK, BNB_NESTED = 64, 256
"""Weights to a scale, and scales to a scale of scales; bitsandbytes 0.50.2 functional.py."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numbers(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Return what it takes."""
        return self.numbers * WIDTHS.get(self.dtype, 1)


Tensors = Mapping[str, Tensor]


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Read the headers of all weights of a folder."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, one in weights.header(file)[0].items():
            found[name] = Tensor(tuple(one["shape"]), one["dtype"])
    return found


def block_of(name: str) -> str:
    """Return the name of a decoder's layer from its list on; empty for what is none."""
    found = BLOCK.search(name)
    return found[1] if found else ""


def linears(tensors: Tensors) -> dict[str, Tensor]:
    """Return the matrices that every method quantizes, by their name from the layer's list on.

    Embeddings, the head, norms and routers stay as they are.
    """
    return {
        block: one
        for name, one in tensors.items()
        if (block := block_of(name)) and len(one.shape) == 2 and not KEPT.search(block)
    }


def expected_bytes(tensors: Tensors, config: QuantizeConfig) -> int:
    """Return what a settled quantization leaves of the weights: layers, scales, and the rest."""
    layers = linears(tensors)
    total = 0.0
    for name, one in tensors.items():
        if block_of(name) in layers:
            total += _layer_bytes(one, config)
        else:
            total += one.numbers * _width(one, config)
    return round(total)


def plain_bytes(tensors: Tensors) -> int:
    """Return what the weights take as they are."""
    return sum(one.bytes for one in tensors.values())


def _width(one: Tensor, config: QuantizeConfig) -> int:
    if config.dtype in STORED and one.dtype in ("F32", "F16", "BF16", "F64"):
        return STORED[config.dtype]
    return WIDTHS.get(one.dtype, 1)


def _layer_bytes(one: Tensor, config: QuantizeConfig) -> float:
    outside, inside = one.shape
    bits, numbers = config.bits or 4, one.numbers
    if config.method == "bnb" and bits == 4:
        scales = -(-numbers // BNB_BLOCK)
        described = 16 * 4 + 200  # the table of values, and a line of JSON
        if not config.bnb_4bit_use_double_quant:
            return numbers / 2 + 4 * scales + described
        return numbers / 2 + scales + 4 * -(-scales // BNB_NESTED) + 256 * 4 + described
    if config.method == "bnb":
        return numbers + 4 * outside + 1
    if config.method in ("gptq", "awq"):
        size = config.group_size or 128
        groups = 1 if size == -1 else -(-inside // size)
        order = 4 * inside if config.method == "gptq" else 0  # g_idx, an int32 per input
        return numbers * bits / 8 + groups * outside * (bits / 8 + 2) + order
    return numbers + outside * _width(one, config)  # a scale per row


Is = Callable[[Tensors, str], bool]


def _has(tensors: Tensors, name: str, dtypes: tuple[str, ...]) -> bool:
    return name in tensors and tensors[name].dtype in dtypes


def _four_bits(found: Tensors, layer: str) -> bool:
    described = any(one.startswith(f"{layer}.weight.quant_state.") for one in found)
    return described and _has(found, f"{layer}.weight", ("U8",))


def _eight_bits(found: Tensors, layer: str) -> bool:
    return f"{layer}.SCB" in found and _has(found, f"{layer}.weight", ("I8",))


def _packed(found: Tensors, layer: str) -> bool:
    return f"{layer}.scales" in found and _has(found, f"{layer}.qweight", ("I32", "I16"))


def _scaled(dtype: str) -> Is:
    def is_scaled(found: Tensors, layer: str) -> bool:
        return f"{layer}.weight_scale" in found and _has(found, f"{layer}.weight", (dtype,))

    return is_scaled


def kind_of(config: QuantizeConfig) -> Is:
    """Return what tells whether a layer is stored as the method stores it."""
    kinds: Mapping[str, Is] = {
        "bnb": _eight_bits if config.bits == 8 else _four_bits,
        "gptq": _packed,
        "awq": _packed,
        "fp8": _scaled("F8_E4M3"),
        "w8a8": _scaled("I8"),
    }
    return kinds[config.method]


def unquantized(before: Tensors, after: Tensors, config: QuantizeConfig) -> list[str]:
    """Return the layers that should be quantized and are not, in the files that were written."""
    named = dict(_by_block(after))
    is_quantized = kind_of(config)
    return [layer for layer in linears(before) if not is_quantized(named, layer)]


def _by_block(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors by their name from the layer's list on; those outside by their whole name."""
    inside = re.compile(r"(?:^|\.)((?:layers|h|blocks|layer)\.\d+\..+)$")
    for name, one in tensors.items():
        found = inside.search(name)
        yield (found[1] if found else name), one


def indivisible(tensors: Tensors, size: int) -> dict[str, int]:
    """Return the layers whose inputs no whole number of groups of that size makes up."""
    if size == -1:
        return {}
    return {name: one.shape[1] for name, one in linears(tensors).items() if one.shape[1] % size}


def quantization_of(folder: Path) -> dict[str, object]:
    """Return what config.json says of the quantization; empty where it says nothing."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = said.get("quantization_config")
    return dict(found) if isinstance(found, dict) else {}
