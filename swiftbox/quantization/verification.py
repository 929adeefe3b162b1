"""Whether the result is the quantized model that was asked for: by its files, and by its outputs.

Every failure is a ResultError: the result is deleted, and the run fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.files import read_json
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.quantization import gguf, tensors

TOLERANCE = 0.03
"""Share of the expected bytes. Extras of the tools, such as zero biases, take far less; one layer
of a small model left in 16 bits takes more, and every layer is checked separately."""

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
    return ResultError(message, hint=text("the result was deleted", "结果已删除"))


def check_files(source: Path, result: Path, config: QuantizeConfig) -> dict[str, Any]:
    """Check the files of the result by their headers; return layers and sizes."""
    if config.method == "gguf":
        return _check_gguf(source, result / gguf.FILE, config)
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


def _require_size(figures: Mapping[str, int]) -> None:
    expected, actual = figures["bytes_expected"], figures["bytes_after"]
    if abs(actual - expected) <= TOLERANCE * expected + SLACK_BYTES:
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


def _check_gguf(source: Path, file: Path, config: QuantizeConfig) -> dict[str, Any]:
    if not file.is_file():
        raise _failure(text("the converter wrote no file", "转换器没有写出文件"))
    bits = config.bits or 8
    dtype = gguf.OUT_TYPES[bits].upper()
    before, after = tensors.read_headers(source), gguf.read_headers(file)
    layer_count = len(tensors.linear_layers(before))
    matrices = {
        name: header.dtype
        for name, header in after.items()
        if name.startswith("blk.") and len(header.shape) == 2
    }
    wrong = [name for name, stored in matrices.items() if stored != dtype]
    count = len(matrices) - len(wrong)
    if wrong or count < layer_count:
        example = wrong[0] if wrong else text("some are missing", "部分缺失")
        raise _failure(
            text(
                f"{count} of {layer_count} layers are {dtype} ({example} ...)",
                f"{layer_count} 层中有 {count} 层为 {dtype}（{example} ...）",
            )
        )
    figures = {
        "layers": layer_count,
        "bytes_before": tensors.total_bytes(before),
        "bytes_expected": gguf.expected_bytes([header.shape for header in before.values()], bits),
        "bytes_after": sum(gguf.size_bytes(header) for header in after.values()),
    }
    _require_size(figures)
    return figures


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
        raise _perplexity_failure(before["perplexity"], after, limit)
    return {
        "perplexity_before": before["perplexity"],
        "perplexity_after": after["perplexity"],
        "perplexity_ratio": ratio,
        "max_perplexity_ratio": limit,
        "tokens": after["tokens"],
    }


def _perplexity_failure(before: float, after: Mapping[str, Any], limit: float) -> ResultError:
    perplexity, tokens = after["perplexity"], after["tokens"]
    ratio = perplexity / before
    return ResultError(
        text(
            f"perplexity {before:.4g} -> {perplexity:.4g} on {tokens} held-out tokens: "
            f"x {ratio:.4g}, the limit is {limit:g}",
            f"困惑度 {before:.4g} -> {perplexity:.4g}"
            f"（留出的 {tokens} 个 token）：{ratio:.4g} 倍，上限为 {limit:g}",
        ),
        hint=text(
            "use more bits, a smaller group_size, or calibration data closer to the model's use; "
            "or raise max_perplexity_ratio",
            "请增加位数、减小 group_size，或换用更贴近用途的校准数据；或提高 max_perplexity_ratio",
        ),
    )
