"""The tensors that a method quantizes, their size afterwards, and whether they are quantized.

Read from the headers of the weight files alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.architectures.modalities import EXTRA, reads_other_modality
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.files import read_json
from swiftbox.models import weights
from swiftbox.models.vocabulary_rows import HEADS

DTYPE_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Bytes per element by the dtype name of safetensors; all other dtypes take one."""

STORED_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

LAYER_TENSOR = re.compile(r"(?:^|\.)((?:layers|h|blocks|layer)\.\d+\..+)$")
"""A tensor of a decoder layer; the group is its name from the list of layers on."""

LAYER_WEIGHT = re.compile(r"(?:^|\.)((?:layers|h|blocks|layer)\.\d+\..+)\.weight$")
"""The weight of a module of a decoder layer; the group is the module."""

NEVER_QUANTIZED = re.compile(
    r"norm|rotary|embed|router|(?:^|\.)(?:gate|shared_expert_gate|wte|wpe)$"
)
"""Modules of decoder layers that no method quantizes: norms, and the routers of experts."""

BNB_BLOCK, BNB_NESTED_BLOCK = 64, 256
"""Weights per scale, and scales per nested scale; bitsandbytes 0.50.2 functional.py."""

QUANT_STATE_BYTES = 16 * 4 + 200
"""The 16 code values of bitsandbytes, and its state as a line of JSON."""

NESTED_CODE_BYTES = 256 * 4
"""The code values of scales that are quantized to 8 bits."""


@dataclass(frozen=True)
class TensorHeader:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def element_count(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Return the size in bytes."""
        return self.element_count * DTYPE_BYTES.get(self.dtype, 1)


TensorHeaders = Mapping[str, TensorHeader]
"""Headers by the name of their tensor."""


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Read the headers of all safetensors files of a folder."""
    return {
        name: TensorHeader(tuple(entry["shape"]), entry["dtype"])
        for file in sorted(folder.glob("*.safetensors"))
        for name, entry in weights.read_header(file)[0].items()
    }


def largest_part(headers: TensorHeaders) -> tuple[float, float]:
    """Return the bytes that computing layer by layer takes at once, and those of one tensor.

    At once: the largest layer, and all weights outside of the layers.
    """
    layers: dict[str, float] = {}
    outside = 0.0
    for name, header in headers.items():
        match = LAYER_TENSOR.search(name)
        if match:
            layer = ".".join(match[1].split(".")[:2])
            layers[layer] = layers.get(layer, 0.0) + header.size_bytes
        else:
            outside += header.size_bytes
    largest = max((header.size_bytes for header in headers.values()), default=0)
    return max(layers.values(), default=0.0) + outside, float(largest)


def layer_module(name: str) -> str:
    """Return the module of a decoder layer's weight, such as layers.0.mlp.up_proj; else empty."""
    match = LAYER_WEIGHT.search(name)
    return match[1] if match else ""


def linear_layers(headers: TensorHeaders) -> dict[str, TensorHeader]:
    """Return the weights that every method quantizes, by module: matrices of decoder layers.

    Embeddings, the head, norms and routers are not among them, nor what reads pictures or sound.
    """
    return {
        module: header
        for name, header in headers.items()
        if (module := layer_module(name))
        and len(header.shape) == 2
        and not NEVER_QUANTIZED.search(module)
        and not reads_other_modality(name)
    }


def total_bytes(headers: TensorHeaders) -> int:
    """Return the size of all tensors."""
    return sum(header.size_bytes for header in headers.values())


def expected_bytes(headers: TensorHeaders, config: QuantizeConfig) -> int:
    """Return the size of all tensors after quantization with resolved settings."""
    linears = linear_layers(headers)
    size = 0.0
    for name, header in headers.items():
        if layer_module(name) in linears and not reads_other_modality(name):
            size += _quantized_bytes(header, config)
        else:
            size += header.element_count * _unquantized_width(header, config)
    return round(size)


def _unquantized_width(header: TensorHeader, config: QuantizeConfig) -> int:
    """Return the bytes per element of a tensor that stays unquantized."""
    if config.dtype in STORED_BYTES and header.dtype in ("F32", "F16", "BF16", "F64"):
        return STORED_BYTES[config.dtype]
    return DTYPE_BYTES.get(header.dtype, 1)


def _quantized_bytes(header: TensorHeader, config: QuantizeConfig) -> float:
    """Return the size of a layer's quantized weights with their scales."""
    outputs, inputs = header.shape
    bits, count = config.bits or 4, header.element_count
    if config.method == "bnb" and bits == 4:
        scales = -(-count // BNB_BLOCK)
        if not config.bnb_4bit_use_double_quant:
            return count / 2 + 4 * scales + QUANT_STATE_BYTES
        nested_scales = -(-scales // BNB_NESTED_BLOCK)
        return count / 2 + scales + 4 * nested_scales + NESTED_CODE_BYTES + QUANT_STATE_BYTES
    if config.method == "bnb":
        return count + 4 * outputs + 1
    if config.method in ("gptq", "awq"):
        group_size = config.group_size or 128
        groups = 1 if group_size == -1 else -(-inputs // group_size)
        group_index = 4 * inputs if config.method == "gptq" else 0  # g_idx, an int32 per input
        return count * bits / 8 + groups * outputs * (bits / 8 + 2) + group_index
    return count + outputs * _unquantized_width(header, config)  # a scale per row


IsQuantized = Callable[[TensorHeaders, str], bool]
"""Whether a module is stored quantized, by the headers of its tensors."""


def _has(headers: TensorHeaders, name: str, dtypes: tuple[str, ...]) -> bool:
    return name in headers and headers[name].dtype in dtypes


def _is_4bit(headers: TensorHeaders, module: str) -> bool:
    has_state = any(name.startswith(f"{module}.weight.quant_state.") for name in headers)
    return has_state and _has(headers, f"{module}.weight", ("U8",))


def _is_int8(headers: TensorHeaders, module: str) -> bool:
    return f"{module}.SCB" in headers and _has(headers, f"{module}.weight", ("I8",))


def _is_packed(headers: TensorHeaders, module: str) -> bool:
    return f"{module}.scales" in headers and _has(headers, f"{module}.qweight", ("I32", "I16"))


def _scaled(dtype: str) -> IsQuantized:
    def is_scaled(headers: TensorHeaders, module: str) -> bool:
        return f"{module}.weight_scale" in headers and _has(headers, f"{module}.weight", (dtype,))

    return is_scaled


def storage_test(config: QuantizeConfig) -> IsQuantized:
    """Return the function that recognizes how the method stores a layer."""
    tests: Mapping[str, IsQuantized] = {
        "bnb": _is_int8 if config.bits == 8 else _is_4bit,
        "gptq": _is_packed,
        "awq": _is_packed,
        "fp8": _scaled("F8_E4M3"),
        "w8a8": _scaled("I8"),
    }
    return tests[config.method]


def unquantized_layers(
    before: TensorHeaders, after: TensorHeaders, config: QuantizeConfig
) -> list[str]:
    """Return the modules that should be quantized and are not."""
    stored = dict(_with_short_names(after))
    is_quantized = storage_test(config)
    return [module for module in linear_layers(before) if not is_quantized(stored, module)]


def lost_tensors(
    before: TensorHeaders, after: TensorHeaders, config: QuantizeConfig, *, tied: bool
) -> list[str]:
    """Return the tensors that a quantized model lacks; a `tied` head is stored as embeddings."""
    stored, is_quantized = dict(_with_short_names(after)), storage_test(config)
    lost = []
    for name, _header in _with_short_names(before):
        module = name.rpartition(".")[0]
        is_known = name in stored or is_quantized(stored, module) or EXTRA.search(name)
        if not is_known and not (tied and module in HEADS):
            lost.append(name)
    return lost


def added_tensors(before: TensorHeaders, after: TensorHeaders) -> list[str]:
    """Return the tensors of a quantized model that belong to no module of the original."""
    modules = set()
    for name, _header in _with_short_names(before):
        parts = name.split(".")
        modules |= {".".join(parts[:count]) for count in range(1, len(parts))}
    names = [name for name, _header in _with_short_names(after)]
    return [name for name in names if name.rpartition(".")[0] not in modules]


def _with_short_names(headers: TensorHeaders) -> Iterator[tuple[str, TensorHeader]]:
    """Yield headers by their name from the list of layers on; others by their full name.

    Those of towers are left out: their layers may have the names of the decoder's.
    """
    for name, header in headers.items():
        if reads_other_modality(name):
            continue
        match = LAYER_TENSOR.search(name)
        yield (match[1] if match else name), header


def indivisible_layers(headers: TensorHeaders, group_size: int) -> dict[str, int]:
    """Return the inputs of each layer whose inputs are not a multiple of the group size."""
    if group_size == -1:
        return {}
    inputs = {module: header.shape[1] for module, header in linear_layers(headers).items()}
    return {module: count for module, count in inputs.items() if count % group_size}


def stored_quantization(folder: Path) -> dict[str, object]:
    """Return the quantization_config of config.json; empty without one."""
    stored = read_json(folder / "config.json").get("quantization_config")
    return dict(stored) if isinstance(stored, dict) else {}
