"""Whether models were trained from one base, by config.json and the headers of their weights.

Shapes: V rows of the vocabulary, H hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.models.merge_checks import BaseWeights, read_base_weights
from swiftbox.models.metadata import shown
from swiftbox.models.requirements import WARNING, Remark
from swiftbox.models.vocabulary_rows import HEADS, TABLE

DESCRIPTION = re.compile(
    r"^(?:.*\.)?(?:_name_or_path|transformers_version|(?:torch_)?dtype|use_cache|vocab_size|\w+_token_id"
    r"|auto_map|architectures|_attn_implementation\w*|id2label|label2id|output_\w+|\w*dropout|chunk_\w+"
    r"|return_dict|problem_type|initializer_range|pad_index|tie_word_embeddings)$"
)
"""Keys of config.json that say nothing about how the layers compute, or are looked at apart."""

LAYERS = re.compile(r"(?:.*\.)?(?:num_hidden_layers|num_layers|n_layers?|depth) ")
"""Settings that say how many layers there are, with their values."""

LISTED = 4


@dataclass(frozen=True)
class NamedWeights:
    """A model, as its setting names it."""

    key: str
    name: str
    weights: BaseWeights

    @property
    def folder(self) -> Path:
        """Return its folder."""
        return self.weights.folder


def read_named(key: str, name: str, folder: Path) -> NamedWeights:
    """Read the headers of a model; raise ConfigError, under its key, for a quantized one."""
    try:
        return NamedWeights(key, name, read_base_weights(folder))
    except ConfigError as error:
        message = error.message.replace("model: ", f"{key}: ", 1).replace("model：", f"{key}：", 1)
        hint = text("give the model from before the quantization", "请给出量化之前的模型")
        raise ConfigError(message, hint=hint) from None


def require_one_architecture(base_model: NamedWeights, tuned: NamedWeights) -> Iterator[Remark]:
    """Yield settings of config.json that differ; raise ConfigError for another architecture."""
    configs = [read_json(model.folder / "config.json") for model in (base_model, tuned)]
    classes = [config.get("architectures") for config in configs]
    types = [config.get("model_type") for config in configs]
    if classes[0] != classes[1] or types[0] != types[1]:
        raise _mismatch(
            tuned,
            text(
                f"its class is {shown(classes[1] or types[1])}, that of {base_model.name} is "
                f"{shown(classes[0] or types[0])}",
                f"其类为 {shown(classes[1] or types[1])}，而 {base_model.name} 为 "
                f"{shown(classes[0] or types[0])}",
            ),
        )
    require_same_shapes(base_model, tuned)
    different = list(_different_settings(*configs))
    layers = [setting for setting in different if LAYERS.match(setting)]
    if layers:
        raise _mismatch(
            tuned,
            text(
                f"config.json differs from that of {base_model.name}: {layers[0]}",
                f"config.json 与 {base_model.name} 不同：{layers[0]}",
            ),
        )
    if different:
        yield Remark(WARNING, tuned.key, _differs(tuned, base_model.name, different))


def require_same_shapes(base_model: NamedWeights, tuned: NamedWeights) -> None:
    """Raise ConfigError for weights of other shapes; only the rows of the vocabulary may differ."""
    for name, shape in base_model.weights.shapes.items():
        other = tuned.weights.shapes.get(name)
        if other is None or other == shape:
            continue
        if not (is_table(name) and other[1:] == shape[1:]):
            sizes = [" x ".join(map(str, size)) for size in (other, shape)]
            raise _mismatch(
                tuned,
                text(
                    f"{name} is {sizes[0]}, in {base_model.name} {sizes[1]}",
                    f"{name} 为 {sizes[0]}，在 {base_model.name} 中为 {sizes[1]}",
                ),
            )


def require_same_names(first: NamedWeights, other: NamedWeights) -> None:
    """Raise ConfigError for tensors that only one of two models stores; heads may be tied."""
    missing = [
        name
        for name in sorted(first.weights.shapes.keys() ^ other.weights.shapes.keys())
        if name.removesuffix(".weight").rpartition(".")[2] not in HEADS
    ]
    if missing:
        owner = first if missing[0] in first.weights.shapes else other
        raise _mismatch(
            other,
            text(
                f"{counted(len(missing), 'tensor')} in only one of it and {first.name} "
                f"({missing[0]} in {owner.name})",
                f"它与 {first.name} 相比有 {len(missing)} 个张量只存在于其中之一"
                f"（{missing[0]} 在 {owner.name} 中）",
            ),
        )


def is_table(name: str) -> bool:
    """Tell whether a tensor is that of the embeddings or of the head.  # (V, H)"""
    return bool(TABLE.search(name)) or name.removesuffix(".weight").rpartition(".")[2] in HEADS


def vocabulary_rows(weights: BaseWeights) -> int | None:
    """Return the rows of the largest table; None without one."""
    rows = [shape[0] for name, shape in weights.shapes.items() if is_table(name)]
    return max(rows, default=None)


def resized_tables(base_model: NamedWeights, tuned: NamedWeights) -> list[str]:
    """Return the names of the tables that have another number of rows than in the base."""
    return [
        name
        for name, shape in tuned.weights.shapes.items()
        if is_table(name) and base_model.weights.shapes.get(name, shape) != shape
    ]


def _different_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of config.json that differ, with both values."""
    flat = [dict(_flat(config)) for config in (first, second)]
    for key in sorted(flat[0].keys() | flat[1].keys()):
        if DESCRIPTION.match(key) or key not in flat[0] or key not in flat[1]:
            continue  # a key that one version of transformers does not write
        if flat[0][key] != flat[1][key]:
            yield f"{key} {shown(flat[1][key])} / {shown(flat[0][key])}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# ---- messages


def _mismatch(tuned: NamedWeights, reason: str) -> ConfigError:
    return ConfigError(
        text(f"{tuned.key}: {tuned.name}: {reason}", f"{tuned.key}：{tuned.name}：{reason}"),
        hint=text(
            "give models that were trained from the same base",
            "请给出由同一基座训练得到的模型",
        ),
    )


def _differs(tuned: NamedWeights, base_name: str, different: list[str]) -> str:
    listed = ", ".join(different[:LISTED])
    if len(different) > LISTED:
        listed += text(f" and {len(different) - LISTED} more", f" 等 {len(different)} 项")
    return text(
        f"{tuned.name}: config.json differs from that of {base_name}: {listed}; the values of "
        f"{base_name} are used",
        f"{tuned.name}：config.json 与 {base_name} 不同：{listed}；使用 {base_name} 的值",
    )
