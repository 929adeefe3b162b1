"""How a model says that its weights are quantized: the `quantization_config` of config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]

KNOWN_FORMATS: Mapping[str, tuple[str, ...]] = {
    "gptq": ("gptq", "gptq_v2"),
    "awq": ("gemm",),
    "compressed-tensors": (
        "float-quantized",
        "int-quantized",
        "naive-quantized",
        "pack-quantized",
        "nvfp4-pack-quantized",
        "mxfp4-pack-quantized",
        "mixed-precision",
    ),
    "fp8": ("",),
    "bitsandbytes": ("",),
}
"""Formats of each method that the forms describe; others are compared by module only."""


@dataclass(frozen=True)
class StoredForm:
    """What the `quantization_config` of a config.json says."""

    method: str
    bits: int | None = None
    group_size: int | None = None
    """Inputs with one scale; -1 for all, None where modules differ."""
    blocks: Shape | None = None
    """Rows and columns with one scale."""
    strategy: str = ""
    uniform: bool = True
    """Whether all matrices have the same parts."""


def settings_of(quantization: Any) -> StoredForm | None:
    """Return what a `quantization_config` says; None for a form that is not described here."""
    if not isinstance(quantization, dict):
        return None
    is_bitsandbytes = any(quantization.get(key) for key in ("load_in_4bit", "load_in_8bit"))
    default = "bitsandbytes" if is_bitsandbytes else ""
    method = str(quantization.get("quant_method") or default)
    if method not in KNOWN_FORMATS or _format_of(method, quantization) not in KNOWN_FORMATS[method]:
        return None
    if method == "compressed-tensors":
        return _settings_of_groups(quantization)
    if method in ("gptq", "awq"):
        bits, size = _integer(quantization.get("bits")), _integer(quantization.get("group_size"))
        differs = any(quantization.get(key) for key in ("dynamic", "extra_config"))
        is_known = bits is not None and size is not None and not differs
        return StoredForm(method, bits, size) if is_known else StoredForm(method)
    return StoredForm(method, blocks=_blocks(quantization.get("weight_block_size")))


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _blocks(value: Any) -> Shape | None:
    is_known = isinstance(value, list) and all(type(size) is int and size > 0 for size in value)
    return tuple(value) if is_known and len(value) == 2 else None


def _format_of(method: str, quantization: Mapping[str, Any]) -> str:
    if method == "gptq":
        if quantization.get("is_marlin_format"):
            return "marlin"
        names = [quantization.get(key) for key in ("checkpoint_format", "format")]
        return str(next((name for name in names if name), "gptq"))
    if method == "awq":
        names = [quantization.get(key) for key in ("version", "format")]
        is_other = quantization.get("backend") == "llm-awq"
        return "llm-awq" if is_other else str(next((n for n in names if n), "gemm")).lower()
    if method == "compressed-tensors":
        sparsity = quantization.get("sparsity_config")
        is_sparse = isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense"
        return "sparse" if is_sparse else str(quantization.get("format"))
    if method == "fp8":
        return "fp4" if quantization.get("expert_dtype") == "fp4" else ""
    return ""


def _settings_of_groups(quantization: Mapping[str, Any]) -> StoredForm:
    """Return what all groups of modules have in common."""
    named = quantization.get("config_groups")
    groups = list(named.values()) if isinstance(named, dict) else []
    weights = [group.get("weights") or {} for group in groups if isinstance(group, dict)]

    def common(key: str) -> Any:
        values = [row.get(key) for row in weights]
        return values[0] if values and all(value == values[0] for value in values) else None

    return StoredForm(
        "compressed-tensors",
        _integer(common("num_bits")),
        _integer(common("group_size")),
        _blocks(common("block_structure")),
        str(common("strategy") or ""),
        uniform=len(weights) == 1,
    )
