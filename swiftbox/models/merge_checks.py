"""Whether adapters match the base model they are merged into.

Shapes: R rank, I inputs and O outputs of a layer, V vocabulary, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.merge import MergeConfig, Quantization
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.adapters import Adapter
from swiftbox.models.text_models import SCORES
from swiftbox.models.unservable_adapters import require_same_rows
from swiftbox.models.vocabulary_rows import require_rows, require_rows_of_tokens

FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float32"}
"""Number types of plain weights; a model with other types is quantized."""

LANGUAGE_PART, LONE_LAYERS = "language_model", "model.layers."
"""The decoder of a model with other modalities, and the layers of a decoder without them."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class BaseWeights:
    """The weights of a base model as stored in its files."""

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    main_dtype: str

    def bytes_as(self, dtype: str) -> int:
        """Return the bytes of all weights in a number type; `stored` keeps each weight's type."""
        return sum(
            math.prod(shape) * BYTES[self.dtypes[name] if dtype == "stored" else dtype]
            for name, shape in self.shapes.items()
        )


def read_base_weights(folder: Path) -> BaseWeights:
    """Read the headers of a base model's weights; raise ConfigError for a quantized model."""
    files = weights.read_weights(folder)
    if quantization := _stored_quantization(folder, files):
        raise _quantized(folder, quantization)
    return _base_weights(folder, files)


def _stored_quantization(folder: Path, files: weights.WeightFiles) -> str:
    """Return how a model's weights are quantized; empty if they are not."""
    quantization = read_json(folder / "config.json").get("quantization_config")
    method = quantization.get("quant_method", "") if isinstance(quantization, dict) else ""
    return str(method) or ", ".join(sorted(set(files.dtypes) - set(FLOATS)))


def _base_weights(folder: Path, files: weights.WeightFiles) -> BaseWeights:
    return BaseWeights(
        folder,
        {name: shape for name, (_dtype, shape) in files.tensors.items()},
        {name: FLOATS[dtype] for name, (dtype, _shape) in files.tensors.items()},
        FLOATS[files.main_dtype or "F32"],
    )


def require_adapters_fit(folder: Path, adapters: Sequence[Adapter], name: str) -> None:
    """Raise ConfigError for adapters that do not fit the model in a folder, given as `name`.

    Quantized weights have other shapes; what they lack is known once they are loaded.
    """
    files = weights.read_weights(folder)
    if files.is_complete and not _stored_quantization(folder, files):
        base_weights = _base_weights(folder, files)
        require_matching_layers(base_weights, adapters, name)
        require_rows(base_weights.shapes, adapters)


def require_builtin_adapters(folder: Path, adapters: Sequence[Adapter]) -> None:
    """Raise ConfigError for adapters whose tokens or embeddings the builtin server has no room for.

    `folder` is the base's; what a quantized one lacks is known once it is loaded.
    """
    files = weights.read_weights(folder)
    if not files.is_complete or _stored_quantization(folder, files):
        return
    shapes = _base_weights(folder, files).shapes
    require_same_rows(shapes, adapters)
    for adapter in adapters:
        require_rows_of_tokens(folder, shapes, [adapter])


def _quantized(folder: Path, format: str) -> ConfigError:
    return ConfigError(
        text(
            f"model: {folder} is quantized ({format}); merging into quantized weights is not exact",
            f"model：{folder} 已量化（{format}）；合并到此类权重并不精确",
        ),
        hint=text(
            "give the unquantized base model, and quantize the merged model afterwards",
            "请给出未量化的基座，合并后再量化",
        ),
    )


def require_matching_layers(
    base_model: BaseWeights, adapters: Sequence[Adapter], name: str
) -> None:
    """Raise ConfigError unless all adapted layers exist in the base model, given as `name`."""
    for adapter in adapters:
        require_matching_name(adapter, name)
        for mismatch in _mismatches(base_model, adapter):
            raise ConfigError(
                text(
                    f"adapter: {adapter.folder} does not match {name}: {mismatch}",
                    f"adapter：{adapter.folder} 与 {name} 不匹配：{mismatch}",
                ),
                hint=_other_base(adapter),
            )


def _other_base(adapter: Adapter) -> str:
    trained_on = (
        adapter.training.model
        if adapter.training
        else adapter.config.get("base_model_name_or_path") or "?"
    )
    return text(
        f"it was trained on {trained_on}: model={trained_on}",
        f"其训练基座为 {trained_on}：model={trained_on}",
    )


def require_matching_name(adapter: Adapter, name: str) -> None:
    """Raise ConfigError for another base model if both are ids, before anything is downloaded."""
    trained_on = (
        adapter.training.model
        if adapter.training
        else str(adapter.config.get("base_model_name_or_path", ""))
    )
    ids = [
        model for model in (trained_on, name) if model.count("/") == 1 and not Path(model).exists()
    ]
    ids = [model for model in ids if not model.startswith((".", "~", "/"))]
    if len(ids) < 2 or len({model.rpartition("/")[2].lower() for model in ids}) == 1:
        return
    raise ConfigError(
        text(
            f"adapter: {adapter.folder} was trained on {trained_on}, not on {name}",
            f"adapter：{adapter.folder} 的训练基座是 {trained_on}，而不是 {name}",
        ),
        hint=text(
            f"set model: {trained_on}; if it is a copy under another name, give its folder",
            f"设 model: {trained_on}；若为改名的同一模型，请给出其目录",
        ),
    )


def _mismatches(base_model: BaseWeights, adapter: Adapter) -> Iterator[str]:
    base_layers = {name.removesuffix(".weight"): shape for name, shape in base_model.shapes.items()}
    known = [layer for layer in adapter.layers if layer in base_layers]
    if not known and adapter.layers:
        yield from _unknown_layers(base_layers, adapter)
        return  # a family whose files and modules name layers differently; loading will check it
    is_transposed = bool(adapter.config.get("fan_in_fan_out"))
    for layer in known:
        expected, actual = _shape_of(adapter.layers[layer]), base_layers[layer]
        if is_transposed:
            actual = tuple(reversed(actual))
        if expected is not None and not _fits(expected, actual):
            yield _sizes(layer, expected, actual)
    missing = [layer for layer in adapter.layers if layer not in base_layers]
    if missing and not adapter.config.get("target_parameters") and not _ties(base_model, missing):
        count, total = len(missing), len(adapter.layers)
        yield text(
            f"{count} of the {total} layers it adapts are missing ({missing[0]} ...)",
            f"其适配的 {total} 层中有 {count} 层不存在（{missing[0]} ...）",
        )
    yield from _unadapted(_without_lost_heads(base_layers, adapter), adapter)
    yield from _full_weight_mismatches(base_model, adapter)


def _without_lost_heads(base_layers: Mapping[str, Any], adapter: Adapter) -> Mapping[str, Any]:
    """Return the layers of a base without heads that an adapter's own head has replaced."""
    if adapter.config.get("task_type") != SCORES:
        return base_layers
    parts = {layer.partition(".")[0] for layer in adapter.layers}
    return {
        layer: shape for layer, shape in base_layers.items() if layer.partition(".")[0] in parts
    }


def _fits(expected: Sequence[int | None], actual: Sequence[int]) -> bool:
    return len(expected) == len(actual) and all(
        size in (actual_size, None) for size, actual_size in zip(expected, actual, strict=True)
    )


def _unknown_layers(base_layers: Mapping[str, Any], adapter: Adapter) -> Iterator[str]:
    """Report a layer that the model has under no other prefix either."""
    if adapter.config.get("target_parameters"):
        return
    if _is_of_text_part(base_layers, adapter):
        yield text(
            "it was trained on the language part alone, under names that the model does not have",
            "它只在语言部分上训练，其层名在该模型中不存在",
        )
        return
    known = {_numbered_part(layer) for layer in base_layers}
    for layer in adapter.layers:
        if _numbered_part(layer) not in known:
            yield text(
                f"the model has no layer {layer}, nor a similar one",
                f"模型中没有层 {layer}，也没有类似的层",
            )
            return


def _is_of_text_part(base_layers: Mapping[str, Any], adapter: Adapter) -> bool:
    """Tell whether an adapter's layers are those of a decoder that stands alone."""
    is_nested = any(LANGUAGE_PART in layer.split(".") for layer in base_layers)
    return is_nested and all(layer.startswith(LONE_LAYERS) for layer in adapter.layers)


def _numbered_part(layer: str) -> str:
    """Return a layer's name from its last number on; without a number, the last part."""
    parts = layer.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[numbers[-1] :]) if numbers else parts[-1]


def _full_weight_mismatches(base_model: BaseWeights, adapter: Adapter) -> Iterator[str]:
    """Compare complete weights; only a vocabulary may have grown."""
    vocabulary = {
        shape[0] for name, shape in base_model.shapes.items() if shape and _has_vocabulary(name)
    }
    for name, shape in adapter.full_weights.items():
        base_shape = base_model.shapes.get(name)
        if base_shape is None or shape == base_shape:
            continue
        may_grow = bool(base_shape) and base_shape[0] in vocabulary
        if shape[1:] != base_shape[1:] or not may_grow:
            yield _sizes(name, shape, base_shape)


def _has_vocabulary(name: str) -> bool:
    return any(part in name for part in ("embed", "wte", "lm_head"))


def _ties(base_model: BaseWeights, missing: Sequence[str]) -> bool:
    """Return whether the only missing layer is the head of a model with tied embeddings."""
    config = read_json(base_model.folder / "config.json")
    return bool(config.get("tie_word_embeddings")) and all("head" in layer for layer in missing)


def _shape_of(parts: Mapping[str, tuple[int, ...]]) -> tuple[int | None, ...] | None:
    """Return the shape of the adapted layer; None for an unknown shape or dimension."""
    if "lora_A" in parts and "lora_B" in parts:
        inside, outside = parts["lora_A"], parts["lora_B"]  # (R, I), (O, R)
        return (outside[0], inside[1]) if len(inside) == len(outside) == 2 else None
    if "lora_embedding_B" in parts:
        return (None, parts["lora_embedding_B"][0])  # from (H, R); the vocabulary may have grown
    return None


def _sizes(layer: str, expected: Sequence[Any], actual: Sequence[Any]) -> str:
    expected_text, actual_text = (
        " x ".join("?" if n is None else str(n) for n in shape) for shape in (expected, actual)
    )
    return text(
        f"{layer} is {expected_text} in the adapter, {actual_text} in the model",
        f"{layer} 在适配器中为 {expected_text}，在模型中为 {actual_text}",
    )


def _unadapted(base_layers: Mapping[str, Any], adapter: Adapter) -> Iterator[str]:
    """Yield target modules of which the adapter has fewer layers than the base model."""
    targets = adapter.config.get("target_modules")
    is_partial = adapter.config.get("layers_to_transform") is not None or adapter.config.get(
        "exclude_modules"
    )
    if is_partial or not isinstance(targets, list):
        return
    for name in targets:
        in_base = [layer for layer in base_layers if layer == name or layer.endswith(f".{name}")]
        adapted = [layer for layer in adapter.layers if layer == name or layer.endswith(f".{name}")]
        if not adapted and any(len(base_layers[layer]) == 2 for layer in in_base):
            yield text(
                f"its target_modules name {name}, for which it has no weights",
                f"其 target_modules 含 {name}，但没有相应权重",
            )
        elif len(in_base) > len(adapted) > 0:
            yield text(
                f"it adapts {len(adapted)} layers {name}, the model has {len(in_base)}",
                f"它适配 {len(adapted)} 个 {name} 层，而模型有 {len(in_base)} 个",
            )


def quantization_of(config: MergeConfig, adapters: Sequence[Adapter]) -> Quantization | None:
    """Return how the base of the adapters' training was quantized; None if it was not.

    Raises ConfigError when `merge_base: dequantized` is set and no single format is known.
    """
    formats = list(
        dict.fromkeys(adapter.training.quantization for adapter in adapters if adapter.training)
    )
    known_formats = [adapter for adapter in formats if adapter is not None]
    if len(formats) == 1 and known_formats:
        return known_formats[0]
    if config.merge_base != "dequantized":
        return known_formats[0] if known_formats else None
    full = text("set merge_base: full", "设 merge_base: full")
    if known_formats:
        raise ConfigError(
            text(
                "merge_base: the adapters were trained on differently quantized base models",
                "merge_base：这些适配器的训练基座量化方式不同",
            ),
            hint=text("merge them in separate runs", "请分次合并"),
        )
    if formats:
        raise ConfigError(
            text(
                "merge_base: the adapter was trained on an unquantized base model",
                "merge_base：适配器的训练基座未量化",
            ),
            hint=full,
        )
    raise _no_record(adapters[0].folder, full)


def _no_record(folder: Path, full: str) -> ConfigError:
    return ConfigError(
        text(
            f"merge_base: {folder} has no record of how its base was quantized",
            f"merge_base：{folder} 旁没有基座量化方式的记录",
        ),
        hint=text(
            f"give the folder of the run, which contains settled.yaml, or {full}",
            f"请给出含 settled.yaml 的运行目录，或{full}",
        ),
    )
