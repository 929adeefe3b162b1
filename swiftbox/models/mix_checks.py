"""Whether adapters or models can be mixed, by their settings and headers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.models.model_pairs import (
    NamedWeights,
    require_one_architecture,
    require_same_names,
    resized_tables,
)
from swiftbox.models.requirements import WARNING, Remark
from swiftbox.models.templates import templates_of
from swiftbox.models.token_ids import token_ids
from swiftbox.models.unservable_adapters import trained_biases, variants

PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights with which an adapter is a change of its base."""


def require_sums(adapters: Sequence[Adapter]) -> None:
    """Raise ConfigError for adapters that are not a sum of products: these cannot be added up.

    peft's add_weighted_adapter takes several of them and makes a wrong adapter.
    """
    faults = {adapter.folder: reasons for adapter in adapters if (reasons := _beyond_sum(adapter))}
    if not faults:
        return
    raise ConfigError(
        "\n".join(
            text(
                f"adapter: {folder} cannot be mixed: {fault}",
                f"adapter：{folder} 无法混合：{fault}",
            )
            for folder, fault in faults.items()
        ),
        hint=_merge_each(next(iter(faults))),
    )


def _beyond_sum(adapter: Adapter) -> str:
    config = adapter.config
    saved = ", ".join(config.get("modules_to_save") or [])
    biases = trained_biases(adapter)
    parts = {part for layer in adapter.layers.values() for part in layer}
    start = config.get("init_lora_weights", True)
    reasons = [
        text(f"it is of the kind {adapter.kind}", f"它的类型是 {adapter.kind}")
        if adapter.kind != "LORA"
        else "",
        text("it is a DoRA", "它是 DoRA") if config.get("use_dora") else "",
        *variants(adapter),
        biases,
        text(f"it trained {saved} completely", f"它完整训练了 {saved}") if saved else "",
        text("it has new tokens", "它含新增词元") if config.get("trainable_token_indices") else "",
        text("it adapts the embeddings", "它作用于词嵌入") if "lora_embedding_A" in parts else "",
        text("it holds complete weights", "它含完整的权重")
        if adapter.full_weights and not saved and not biases
        else "",
        text(
            f"init_lora_weights: {start} changed its base", f"init_lora_weights: {start} 改变了基座"
        )
        if start not in PLAIN_STARTS
        else "",
    ]
    return text(", ", "、").join(filter(None, reasons))


def _merge_each(folder: Path) -> str:
    command = f"swiftbox new merge -o merge.yaml adapter={shlex.quote(str(folder))}"
    return text(
        f"merge each adapter first (`{command}`), then mix the merged models as tuned_model",
        f"请先分别合并（`{command}`），再以 tuned_model 混合合并后的模型",
    )


def other_templates(folders: Mapping[str, Path], key: str) -> Iterator[Remark]:
    """Yield a remark if chat templates differ from the first one, which is used."""
    if not folders:
        return
    templates = {
        name: [template.source for template in templates_of(folder)]
        for name, folder in folders.items()
    }
    (first, expected), *others = templates.items()
    different = [name for name, template in others if template and template != expected]
    if different:
        yield Remark(
            WARNING,
            key,
            text(
                f"the chat template of {first} is used; {', '.join(different)} has another one",
                f"使用 {first} 的对话模板；{', '.join(different)} 的模板不同",
            ),
        )


def require_mixable_models(
    models: Sequence[NamedWeights], base_model: NamedWeights | None
) -> Iterator[Remark]:
    """Yield remarks on models to mix; raise ConfigError if they do not have the same weights."""
    first, *others = models
    for other in (*others, *([base_model] if base_model else [])):
        yield from require_one_architecture(first, other)
        require_same_names(first, other)
        for name in resized_tables(first, other):
            raise _other_rows(name, first, other)
        _require_same_tokens(first, other)
    _require_same_heads([*models, *([base_model] if base_model else [])])
    yield from other_templates({model.name: model.folder for model in models}, "tuned_model")


def tied_heads(models: Sequence[NamedWeights]) -> frozenset[str]:
    """Return the heads that only some models store; all share the embeddings."""
    names = [frozenset(model.weights.shapes) for model in models]
    return frozenset().union(*names) - names[0].intersection(*names)


def _require_same_heads(models: Sequence[NamedWeights]) -> None:
    """Raise ConfigError if a head that only some models store is not tied in each of them."""
    for name in sorted(tied_heads(models)):
        for model in models:
            if name in model.weights.shapes and not _ties(model.folder):
                others = [other for other in models if name not in other.weights.shapes]
                raise ConfigError(
                    text(
                        f"{model.key}: {model.name} has a separate head ({name}), "
                        f"{others[0].name} shares the embeddings",
                        f"{model.key}：{model.name} 有独立的输出头（{name}），而 {others[0].name} "
                        "与词嵌入共享",
                    ),
                    hint=text(
                        "give models whose heads are all tied, or none",
                        "请给出输出头处理一致的模型",
                    ),
                )


def _ties(folder: Path) -> bool:
    config = read_json(folder / "config.json")
    part = config.get("text_config")
    nested = part.get("tie_word_embeddings") if isinstance(part, dict) else None
    return bool(config.get("tie_word_embeddings", nested))


def _require_same_tokens(first: NamedWeights, other: NamedWeights) -> None:
    """Raise ConfigError if a token has different ids: the rows would be mixed up."""
    ids, other_ids = token_ids(first.folder), token_ids(other.folder)
    moved = next((token for token in ids if other_ids.get(token, ids[token]) != ids[token]), None)
    if moved is None:
        return
    raise ConfigError(
        text(
            f"{other.key}: {other.name}: token {moved!r} is {other_ids[moved]}, in {first.name} "
            f"{ids[moved]}",
            f"{other.key}：{other.name}：词元 {moved!r} 的编号为 {other_ids[moved]}，"
            f"在 {first.name} 中为 {ids[moved]}",
        ),
        hint=text("mix models with the same tokenizer", "请混合使用同一分词器的模型"),
    )


def _other_rows(name: str, first: NamedWeights, other: NamedWeights) -> ConfigError:
    rows = [model.weights.shapes[name][0] for model in (other, first)]
    return ConfigError(
        text(
            f"{other.key}: {other.name}: {name} has {rows[0]:,} rows, in {first.name} {rows[1]:,}",
            f"{other.key}：{other.name}：{name} 有 {rows[0]:,} 行，在 {first.name} 中为 "
            f"{rows[1]:,} 行",
        ),
        hint=text("mix models with the same vocabulary", "请混合词表相同的模型"),
    )
