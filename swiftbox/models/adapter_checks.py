"""Whether an adapter's own files fit together: adapter_config.json and the headers of its weights.

Shapes: R rank, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swiftbox.language import text
from swiftbox.models.metadata import shown
from swiftbox.security.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, fault_of_revision

Parts = Mapping[str, tuple[int, ...]]
"""The shapes of the tensors of one layer, by part: lora_A, lora_B, ..."""

LARGEST_RANK = 65_536
LARGEST_SCALE = 10_000.0
"""alpha / rank of published adapters is 0.5 to 64; weights times more than this overflow."""

FLOATS = ("F64", "F32", "F16", "BF16")

PAIRS = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B"}
MAGNITUDE = "lora_magnitude_vector"

NAME_LENGTH = 4096


@dataclass(frozen=True)
class AdapterTensors:
    """The tensors of an adapter: their dtypes, and their shapes by adapted layer."""

    dtypes: Mapping[str, str]
    layers: Mapping[str, Parts]
    full_weights: Parts


def adapter_problems(config: Mapping[str, Any], tensors: AdapterTensors) -> Iterator[str]:
    """Yield what is wrong with an adapter of a kind that changes weights."""
    problems = list(_config_problems(config))
    yield from problems
    if not tensors.layers and not tensors.full_weights:
        yield text("it holds no weights of an adapter", "其中没有适配器权重")
    for name, dtype in tensors.dtypes.items():
        if dtype not in FLOATS:
            yield text(f"{name} has the dtype {dtype}", f"{name} 的类型为 {dtype}")
            break
    if not problems and config["peft_type"] == "LORA":
        yield from _layer_problems(config, tensors.layers)


# ---- adapter_config.json


def _config_problems(config: Mapping[str, Any]) -> Iterator[str]:
    yield from _name_problems(config)
    if config.get("megatron_config") is not None:
        yield text(
            "megatron_config imports the Python module that megatron_core names",
            "megatron_config 会导入 megatron_core 指定的 Python 模块",
        )
    for key in ("target_modules", "modules_to_save", "target_parameters", "exclude_modules"):
        if not _are_names(config.get(key), text_too=key in ("target_modules", "exclude_modules")):
            yield _unusable(key, config[key])
    if not _are_rows(config.get("trainable_token_indices")):
        yield _unusable("trainable_token_indices", config["trainable_token_indices"])
    if config.get("peft_type") in ("LORA", "ADALORA"):
        yield from _lora_problems(config)


def _name_problems(config: Mapping[str, Any]) -> Iterator[str]:
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if name is not None and not _is_name(name):
        yield _unusable("base_model_name_or_path", name)
    if revision is not None and not isinstance(revision, str):
        yield _unusable("revision", revision)
    elif revision and (fault := fault_of_revision(revision)):
        yield text(f"revision {shown(revision)}: {fault}", f"revision {shown(revision)}：{fault}")


def _is_name(value: object) -> bool:
    """Tell whether a value can be the name of a folder or of a model on a hub."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    sizes = [len(part.encode(errors="replace")) for part in value.split("/")]
    return max(sizes) <= MAX_NAME_BYTES and sum(sizes) <= MAX_PATH_BYTES


def _are_names(value: object, *, text_too: bool) -> bool:
    if value is None or (text_too and isinstance(value, str) and 0 < len(value) <= NAME_LENGTH):
        return True
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _are_rows(value: object) -> bool:
    """Tell whether a value names rows of the embeddings: a list, or lists by module."""
    lists = value.values() if isinstance(value, dict) else [[] if value is None else value]
    return all(
        isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)
        for rows in lists
    )


def _lora_problems(config: Mapping[str, Any]) -> Iterator[str]:
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    has_rank = type(rank) is int and 0 < rank <= LARGEST_RANK
    if not has_rank and config["peft_type"] == "LORA":
        yield _unusable("r", rank)
    if not _is_number(alpha) or alpha <= 0:
        yield _unusable("lora_alpha", alpha)
    elif has_rank and alpha / rank > LARGEST_SCALE:
        yield text(
            f"lora_alpha {shown(alpha)} is more than {LARGEST_SCALE:,.0f} times the rank {rank}",
            f"lora_alpha {shown(alpha)} 超过秩 {rank} 的 {LARGEST_SCALE:,.0f} 倍",
        )
    dropout = config.get("lora_dropout", 0.0)
    if not _is_number(dropout) or not 0 <= dropout < 1:
        yield _unusable("lora_dropout", dropout)
    if config.get("bias", "none") not in ("none", "all", "lora_only"):
        yield _unusable("bias", config["bias"])
    for key in ("use_dora", "use_rslora", "fan_in_fan_out", "lora_bias"):
        if not isinstance(config.get(key) or False, bool):
            yield _unusable(key, config[key])
    if not config.get("target_modules") and not config.get("target_parameters"):
        yield _unusable("target_modules", config.get("target_modules"))
    for key in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(key) or {}
        is_table = isinstance(pattern, dict) and (
            config["peft_type"] == "ADALORA" or all(map(_is_positive, pattern.values()))
        )
        if not is_table:
            yield _unusable(key, config[key])


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e12 and math.isfinite(value)  # type: ignore[arg-type]  # a number


def _is_positive(value: object) -> bool:
    return _is_number(value) and value > 0  # type: ignore[operator]  # a number


def _unusable(key: str, value: object) -> str:
    return text(f"{key} cannot be {shown(value)}", f"{key} 不能为 {shown(value)}")


# ---- the weights of a LoRA


def _layer_problems(config: Mapping[str, Any], layers: Mapping[str, Parts]) -> Iterator[str]:
    """Yield the first problem of each kind: a layer without its pair, rank, or magnitude."""
    has_dora = bool(config.get("use_dora"))
    fused = bool(config.get("target_parameters"))  # the experts of a layer share one tensor
    for layer, parts in layers.items():
        problem = _missing_part(layer, parts) or _magnitude_problem(layer, parts, has_dora)
        if not problem and not fused:
            problem = _rank_problem(layer, parts, _stated_ranks(config, layer))
        if problem:
            yield problem
            return


def _stated_ranks(config: Mapping[str, Any], layer: str) -> set[Any]:
    """Return the rank that the settings state for a layer; all of them for regular expressions."""
    pattern = config.get("rank_pattern") or {}
    plain = {key: rank for key, rank in pattern.items() if key.replace(".", "_").isidentifier()}
    if len(plain) < len(pattern):
        return {config.get("r", 8), *pattern.values()}
    ranks = {rank for key, rank in plain.items() if layer == key or layer.endswith(f".{key}")}
    return ranks or {config.get("r", 8)}


def _missing_part(layer: str, parts: Parts) -> str:
    for first, second in PAIRS.items():
        if (first in parts) != (second in parts):
            missing = second if first in parts else first
            return text(f"layer {layer} has no {missing}", f"层 {layer} 缺少 {missing}")
    return ""


def _magnitude_problem(layer: str, parts: Parts, has_dora: bool) -> str:
    if has_dora and MAGNITUDE not in parts:
        return text(
            f"use_dora is set, but layer {layer} has no {MAGNITUDE}",
            f"设了 use_dora，但层 {layer} 缺少 {MAGNITUDE}",
        )
    if not has_dora and MAGNITUDE in parts:
        return text(
            f"layer {layer} has a {MAGNITUDE}, but use_dora is not set",
            f"层 {layer} 含 {MAGNITUDE}，但未设 use_dora",
        )
    return ""


def _rank_problem(layer: str, parts: Parts, ranks: set[Any]) -> str:
    for first, second in PAIRS.items():
        if first not in parts:
            continue
        inside, outside = parts[first], parts[second]  # (R, I), (O, R)
        if len(inside) < 2 or len(inside) != len(outside):
            return text(
                f"layer {layer} has {first} of {_by(inside)} and {second} of {_by(outside)}",
                f"层 {layer} 的 {first} 为 {_by(inside)}，{second} 为 {_by(outside)}",
            )
        if inside[0] != outside[1]:
            return text(
                f"layer {layer}: {first} has rank {inside[0]}, {second} has rank {outside[1]}",
                f"层 {layer}：{first} 的秩为 {inside[0]}，{second} 的秩为 {outside[1]}",
            )
        if inside[0] not in ranks:
            stated = ", ".join(map(str, sorted(ranks)))
            return text(
                f"layer {layer} has rank {inside[0]}, but adapter_config.json states {stated}",
                f"层 {layer} 的秩为 {inside[0]}，而 adapter_config.json 为 {stated}",
            )
    return ""


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"
