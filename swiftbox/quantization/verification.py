"""Whether the result is the quantized model that was asked for: by its files, and by its outputs.

Every failure is a ResultError: the result is deleted, and the run fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.quantize import BITS, CALIBRATED, GROUP_SIZES, GROUPED, QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.files import read_json
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.quantization import gguf, gguf_verification, tensors
from swiftbox.quantization.resolve import DEFAULT_BITS

TOLERANCE = 0.03
"""Share of the expected bytes. Extras of the tools, such as zero biases, take far less; one layer
of a small model left in 16 bits takes more, and every layer is checked separately."""

GGUF_TOLERANCE = 0.25
"""llama.cpp chooses the type of each matrix; the share of larger ones depends on the model."""

SLACK_BYTES = 32 * 1024

QUANT_METHODS = {
    "bnb": "bitsandbytes",
    "gptq": "gptq",
    "awq": "awq",
    "fp8": "compressed-tensors",
    "w8a8": "compressed-tensors",
}
"""The `quant_method` that config.json must name."""


def _failure(message: str) -> ResultError:
    return ResultError(
        message,
        hint=text(
            "the result was deleted; set another method, and report this with log.txt of the run",
            "结果已删除；请换用其他 method，并附上运行的 log.txt 反馈此问题",
        ),
    )


def check_files(source: Path, result: Path, config: QuantizeConfig) -> dict[str, Any]:
    """Check the files of the result by their headers; return layers and sizes."""
    if config.method == "gguf":
        figures = gguf_verification.check_quantized(source, result / gguf.FILE, config)
        _require_size(figures, GGUF_TOLERANCE)
        return figures
    _require_config(result, config)
    before, after = tensors.read_headers(source), tensors.read_headers(result)
    layer_count = len(tensors.linear_layers(before))
    if unquantized := tensors.unquantized_layers(before, after, config):
        count, first = len(unquantized), unquantized[0]
        raise _failure(
            text(
                f"{count} of {layer_count} layers are not quantized ({first} ...): "
                "the tool saved them unchanged",
                f"{layer_count} 层中有 {count} 层未量化（{first} ...）：工具原样保存了它们",
            )
        )
    if config.method != "bnb":  # whose tensors were compared with the model's when it was written
        _require_all_tensors(source, (before, after), config)
    figures = {
        "layers": layer_count,
        "bytes_before": tensors.total_bytes(before),
        "bytes_expected": tensors.expected_bytes(before, config),
        "bytes_after": tensors.total_bytes(after),
    }
    _require_size(figures)
    return figures


def _require_all_tensors(
    source: Path,
    headers: tuple[tensors.TensorHeaders, tensors.TensorHeaders],
    config: QuantizeConfig,
) -> None:
    """Raise ResultError if the result has lost or added a tensor, other than by quantization."""
    tied = bool(read_json(source / "config.json").get("tie_word_embeddings"))
    if lost := tensors.lost_tensors(*headers, config, tied=tied):
        raise _failure(
            text(
                f"the result lacks {len(lost)} tensors of the model ({lost[0]} ...)",
                f"结果缺少该模型的 {len(lost)} 个张量（{lost[0]} ...）",
            )
        )
    if added := tensors.added_tensors(*headers):
        raise _failure(
            text(
                f"the result has {len(added)} tensors that the model does not have ({added[0]} "
                "...)",
                f"结果多出该模型没有的 {len(added)} 个张量（{added[0]} ...）",
            )
        )


def _require_size(figures: Mapping[str, int], tolerance: float = TOLERANCE) -> None:
    expected, actual = figures["bytes_expected"], figures["bytes_after"]
    if abs(actual - expected) <= tolerance * expected + SLACK_BYTES:
        return
    before = size(figures["bytes_before"])
    raise _failure(
        text(
            f"the weights take {size(actual)}, expected are {size(expected)} "
            f"({before} before quantization)",
            f"权重为 {size(actual)}，预期为 {size(expected)}（量化前为 {before}）",
        )
    )


def _require_config(result: Path, config: QuantizeConfig) -> None:
    stored = tensors.stored_quantization(result)
    if not stored:
        raise _failure(
            text(
                "config.json has no quantization_config: the tool saved the model unchanged",
                "config.json 中没有 quantization_config：工具原样保存了模型",
            )
        )
    expected = {"quant_method": QUANT_METHODS[config.method], **_expected_keys(config)}
    for key, value in expected.items():
        actual = stored.get(key)
        if actual != value:
            raise _failure(
                text(
                    f"config.json: quantization_config.{key} is {actual}, expected {value}",
                    f"config.json：quantization_config.{key} 为 {actual}，预期 {value}",
                )
            )
    if config.method in ("fp8", "w8a8"):
        _require_groups(stored, "float" if config.method == "fp8" else "int")


def _expected_keys(config: QuantizeConfig) -> Mapping[str, Any]:
    """Return the keys of quantization_config that the settings imply."""
    if config.method in ("gptq", "awq"):
        return {"bits": config.bits, "group_size": config.group_size}
    if config.method == "bnb" and config.bits == 4:
        return {"load_in_4bit": True, "bnb_4bit_quant_type": config.bnb_4bit_quant_type}
    return {"load_in_8bit": True} if config.method == "bnb" else {}


def _require_groups(stored: Mapping[str, Any], kind: str) -> None:
    groups = [group.get("weights") or {} for group in (stored.get("config_groups") or {}).values()]
    if groups and all((group.get("num_bits"), group.get("type")) == (8, kind) for group in groups):
        return
    raise _failure(
        text(
            f"config.json has no group of 8-bit {kind} weights",
            f"config.json 中没有 8 位 {kind} 权重的分组",
        )
    )


def check_measurements(
    before: Mapping[str, Any], after: Mapping[str, Any], config: QuantizeConfig
) -> dict[str, Any]:
    """Compare two measurements on the same tokens; return the perplexities."""
    if not after["finite"] or after["perplexity"] is None:
        raise _failure(
            text(
                "the quantized model outputs NaN or infinite logits",
                "量化后的模型输出非有限的 logit",
            )
        )
    if not after["answer"]:
        raise _failure(text("the quantized model generates nothing", "量化后的模型没有任何输出"))
    ratio = after["perplexity"] / before["perplexity"]
    limit = config.max_perplexity_ratio or 1.0
    if not math.isfinite(ratio) or ratio > limit:
        raise _perplexity_failure(before["perplexity"], after, config)
    original = before.get("perplexity_original")
    return {
        **({"perplexity_original": original} if original else {}),
        "perplexity_before": before["perplexity"],
        "perplexity_after": after["perplexity"],
        "perplexity_ratio": ratio,
        "max_perplexity_ratio": limit,
        "tokens": after["tokens"],
    }


def _perplexity_failure(
    before: float, after: Mapping[str, Any], config: QuantizeConfig
) -> ResultError:
    perplexity, tokens = after["perplexity"], after["tokens"]
    limit = config.max_perplexity_ratio or 1.0
    ratio = perplexity / before
    return ResultError(
        text(
            f"perplexity {before:.4g} -> {perplexity:.4g} on {tokens} held-out tokens: "
            f"x {ratio:.4g}, the limit is {limit:g}",
            f"困惑度 {before:.4g} -> {perplexity:.4g}"
            f"（留出的 {tokens} 个 token）：{ratio:.4g} 倍，上限为 {limit:g}",
        ),
        hint=_cure(config),
    )


def _cure(config: QuantizeConfig) -> str:
    """Return what the method really has against a loss that is too large."""
    more = [bits for bits in BITS[config.method] if bits > (config.bits or DEFAULT_BITS)]
    cures = [text(f"set bits: {min(more)}", f"设 bits: {min(more)}")] if more else []
    if config.method in GROUPED and (config.group_size or 0) != min(GROUP_SIZES[1:]):
        cures.append(text("a smaller group_size", "减小 group_size"))
    if config.method in CALIBRATED:
        cures.append(text("calibration data closer to the model's use", "换用更贴近用途的校准数据"))
    cures.append(text("raise max_perplexity_ratio", "提高 max_perplexity_ratio"))
    return text(", or ", "，或").join(cures)
