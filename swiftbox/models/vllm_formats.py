"""Which stored quantizations vLLM loads (vllm/model_executor/layers/quantization of 0.32, 0.33).

Other versions are not judged: they say it themselves when they start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.language import text
from swiftbox.models.metadata import shown
from swiftbox.models.vllm_versions import release

KNOWN_SINCE = (0, 32)

BITS: Mapping[str, tuple[int, ...]] = {"gptq": (4, 8), "awq": (4,)}
"""The number of bits of packed weights, by `quant_method`."""

GROUP_SIZES = (-1, 32, 64, 128)
"""Weights that share a scale; -1: those of a row."""

LOADED = ("compressed-tensors", "fp8", "mxfp4", "modelopt", "quark", "torchao", "auto-round")
"""Further values of `quant_method` that it loads."""

ANY_DTYPE = ("compressed-tensors", "torchao")
"""Values of `quant_method` whose layers compute in every number type."""

BFLOAT16 = "mxfp4"
"""The value of `quant_method` whose layers compute in bfloat16 only."""


def vllm_format_fault(config: Mapping[str, Any], version: str) -> str:
    """Return why a version of vLLM does not load the weights of a config.json; empty if it may."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict) or release(version) < KNOWN_SINCE:
        return ""
    method = str(quantization.get("quant_method", "")).lower()
    if method in BITS:
        return _packed_fault(method, quantization)
    if not method or method in LOADED:
        return ""
    return text(
        f"vLLM {version} does not load weights of {shown(method)}",
        f"vLLM {version} 无法加载 {shown(method)} 的权重",
    )


def vllm_dtypes(config: Mapping[str, Any], version: str) -> tuple[str, ...]:
    """Return the types in which a version of vLLM computes quantized weights; empty for any."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict) or release(version) < KNOWN_SINCE:
        return ()
    method = str(quantization.get("quant_method", "")).lower()
    if not method or method in ANY_DTYPE:
        return ()
    return ("bfloat16",) if method == BFLOAT16 else ("bfloat16", "float16")


def _packed_fault(method: str, quantization: Mapping[str, Any]) -> str:
    bits = quantization.get("bits", quantization.get("w_bit"))
    size = quantization.get("group_size", quantization.get("q_group_size"))
    allowed = BITS[method]
    if bits not in allowed:
        listed = text(" or ", " 或 ").join(map(str, allowed))
        return text(
            f"vLLM loads {method} with {listed} bits, and the weights have {bits}",
            f"vLLM 只支持 {listed} 位的 {method}，而权重为 {bits} 位",
        )
    if size not in GROUP_SIZES:
        listed = ", ".join(map(str, GROUP_SIZES))
        return text(
            f"vLLM loads {method} with group_size {listed}, and the weights have {size}",
            f"vLLM 支持的 {method} group_size 为 {listed}，而权重为 {size}",
        )
    if method == "gptq" and quantization.get("sym") is False:
        return text(
            "vLLM loads symmetric gptq only, and the weights are asymmetric",
            "vLLM 只支持对称的 gptq，而权重是非对称的",
        )
    return ""
