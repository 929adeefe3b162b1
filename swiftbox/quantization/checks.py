"""Whether what was written is the quantized model that was asked for: by its files, by its words.

Every failure is a ResultError: the result is removed, and the run fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.quantization import gguf, layers

TOLERANCE = 0.03
"""Of the expected bytes: what tools add (biases of zeros, tables) is far less, and one layer of a
small model left in 16 bits is more. That every layer is quantized is told apart from this."""

SLACK_BYTES = 32 * 1024

KINDS = {
    "bnb": "bitsandbytes",
    "gptq": "gptq",
    "awq": "awq",
    "fp8": "compressed-tensors",
    "w8a8": "compressed-tensors",
}
"""The `quant_method` that config.json must name."""


def removed() -> str:
    """Say what becomes of a result that fails."""
    return text("the result was removed", "结果已删除")


def files(source: Path, made: Path, config: QuantizeConfig) -> dict[str, Any]:
    """Hold what was written against the source by headers alone; return the figures."""
    if config.method == "gguf":
        return _gguf_file(source, made / gguf.FILE, config)
    _require_config(made, config)
    before, after = layers.tensors_of(source), layers.tensors_of(made)
    wanted = layers.linears(before)
    if left := layers.unquantized(before, after, config):
        raise ResultError(
            text(
                f"{len(left)} of {len(wanted)} layers were not quantized ({left[0]} ...): "
                "the tool saved them as they were",
                f"{len(wanted)} 层中有 {len(left)} 层未量化（{left[0]} ...）：工具原样保存了它们",
            ),
            hint=removed(),
        )
    figures = {
        "layers": len(wanted),
        "bytes_before": layers.plain_bytes(before),
        "bytes_expected": layers.expected_bytes(before, config),
        "bytes_after": layers.plain_bytes(after),
    }
    _require_size(figures)
    return figures


def _require_size(figures: Mapping[str, int]) -> None:
    expected, found = figures["bytes_expected"], figures["bytes_after"]
    if abs(found - expected) <= TOLERANCE * expected + SLACK_BYTES:
        return
    raise ResultError(
        text(
            f"the weights take {size(found)}; quantized they should take {size(expected)} "
            f"(they were {size(figures['bytes_before'])})",
            f"权重为 {size(found)}；量化后应为 {size(expected)}"
            f"（原为 {size(figures['bytes_before'])}）",
        ),
        hint=removed(),
    )


def _require_config(made: Path, config: QuantizeConfig) -> None:
    said = layers.quantization_of(made) if (made / "config.json").is_file() else {}
    if not said:
        raise ResultError(
            text(
                "config.json says of no quantization: the tool saved the model as it was",
                "config.json 中没有量化信息：工具原样保存了模型",
            ),
            hint=removed(),
        )
    wanted = {"quant_method": KINDS[config.method], **_own_words(config)}
    for key, value in wanted.items():
        if said.get(key) != value:
            raise ResultError(
                text(
                    f"config.json says {key}: {said.get(key)} of the quantization, "
                    f"{value} was asked for",
                    f"config.json 的量化信息中 {key} 为 {said.get(key)}，要求 {value}",
                ),
                hint=removed(),
            )
    if config.method in ("fp8", "w8a8"):
        _require_groups(said, "float" if config.method == "fp8" else "int")


def _own_words(config: QuantizeConfig) -> Mapping[str, Any]:
    """Return what the config of a method says of bits and groups."""
    if config.method in ("gptq", "awq"):
        return {"bits": config.bits, "group_size": config.group_size}
    if config.method == "bnb" and config.bits == 4:
        return {"load_in_4bit": True, "bnb_4bit_quant_type": config.bnb_4bit_quant_type}
    return {"load_in_8bit": True} if config.method == "bnb" else {}


def _require_groups(said: Mapping[str, Any], kind: str) -> None:
    groups = said.get("config_groups")
    found = [one.get("weights") or {} for one in (groups or {}).values()]
    if found and all((one.get("num_bits"), one.get("type")) == (8, kind) for one in found):
        return
    raise ResultError(
        text(
            f"config.json names no group of 8-bit {kind} weights",
            f"config.json 中没有 8 位 {kind} 权重的分组",
        ),
        hint=removed(),
    )


def _gguf_file(source: Path, path: Path, config: QuantizeConfig) -> dict[str, Any]:
    if not path.is_file():
        raise ResultError(text("the converter wrote no file", "转换器没有写出文件"), hint=removed())
    before, after = layers.tensors_of(source), gguf.tensors_of(path)
    kind = gguf.OUT_TYPES[config.bits or 8].upper()
    inside = {name: one for name, one in after.items() if name.startswith("blk.")}
    left = [n for n, one in inside.items() if len(one.shape) == 2 and one.dtype != kind]
    wanted = layers.linears(before)
    whole = sum(len(one.shape) == 2 and one.dtype == kind for one in inside.values())
    if left or whole < len(wanted):
        first = left[0] if left else text("some are not there", "部分缺失")
        raise ResultError(
            text(
                f"{whole} of {len(wanted)} layers are {kind} ({first} ...)",
                f"{len(wanted)} 层中有 {whole} 层为 {kind}（{first} ...）",
            ),
            hint=removed(),
        )
    shapes = [one.shape for one in before.values()]
    figures = {
        "layers": len(wanted),
        "bytes_before": layers.plain_bytes(before),
        "bytes_expected": gguf.expected_bytes(shapes, config.bits or 8),
        "bytes_after": sum(gguf.bytes_of(one) for one in after.values()),
    }
    _require_size(figures)
    return figures


def words(
    before: Mapping[str, Any], after: Mapping[str, Any], config: QuantizeConfig
) -> dict[str, Any]:
    """Hold two measurements on the same tokens against each other; return the figures."""
    if not after["finite"] or after["perplexity"] is None:
        raise ResultError(
            text(
                "the quantized model gives logits that are not finite",
                "量化后的模型输出了非有限的 logit",
            ),
            hint=removed(),
        )
    if not after["answer"]:
        raise ResultError(
            text("the quantized model answers nothing", "量化后的模型没有任何回答"), hint=removed()
        )
    ratio = after["perplexity"] / before["perplexity"]
    limit = config.max_perplexity_ratio or 1.0
    if not math.isfinite(ratio) or ratio > limit:
        raise ResultError(
            text(
                f"perplexity {before['perplexity']:.4g} -> {after['perplexity']:.4g} on "
                f"{after['tokens']} held-out tokens: x {ratio:.4g}, the limit is {limit:g}",
                f"困惑度 {before['perplexity']:.4g} -> {after['perplexity']:.4g}"
                f"（留出的 {after['tokens']} 个 token）：{ratio:.4g} 倍，上限为 {limit:g}",
            ),
            hint=text(
                "more bits, a smaller group_size, or calibration data like what it will meet; "
                "or raise max_perplexity_ratio",
                "请增加位数、减小 group_size，或换用更贴近用途的校准数据；"
                "或提高 max_perplexity_ratio",
            ),
        )
    return {
        "perplexity_before": before["perplexity"],
        "perplexity_after": after["perplexity"],
        "perplexity_ratio": ratio,
        "max_perplexity_ratio": limit,
        "tokens": after["tokens"],
    }
