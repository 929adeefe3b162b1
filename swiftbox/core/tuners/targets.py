"""Choose the layers that get an adapter; the choice is checked against the loaded model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from swiftbox.config.tuners import TunerFields
from swiftbox.core.weights.modalities import names_part, other_modalities, part_of
from swiftbox.core.weights.score_head import head_parts, is_in_head
from swiftbox.core.weights.vocabulary import language_head
from swiftbox.errors import ConfigError
from swiftbox.formatting import near
from swiftbox.language import text

ROUTERS = ("gate", "router")
"""Linear layers that select experts; an adapter there would change the routing."""

Note = Callable[[str], None]


def choose_targets(model: Any, config: TunerFields, note: Note) -> list[str]:
    """List the layers that get an adapter, by their shortest unambiguous names.

    Raises ConfigError if nothing matches, or if a pattern matches a head or a router without
    naming it.
    """
    targets = config.target_modules
    if targets == "all-linear":
        chosen = linear_layers(model)
        _note_fused_experts(model, config, note)
    elif isinstance(targets, str) and not targets.isidentifier():
        chosen = _layers_matching(model, targets)
    else:
        names = [targets] if isinstance(targets, str) else targets
        if not names and config.target_parameters:
            return []
        require_matches(model, names)
        chosen = _named_layers(model, names, note)
    chosen = _in_layers(_without_excluded(chosen, config), config)
    if not chosen:
        raise ConfigError(
            text(
                "target_modules: exclude_modules leaves no layer",
                "target_modules：exclude_modules 排除了所有层",
            ),
            hint=text("exclude fewer layers", "请减少排除的层"),
        )
    _check_heads(model, targets, chosen, note)
    return shortest_names(model, chosen)


def linear_names(model: Any) -> list[str]:
    """List the linear layers that all-linear selects, by their shortest unambiguous names."""
    return shortest_names(model, linear_layers(model))


def chosen_layers(model: Any, targets: Sequence[str]) -> list[str]:
    """List the layers that targets select, by their shortest unambiguous names."""
    require_matches(model, targets)
    return shortest_names(model, _named_layers(model, targets, print))


def linear_layers(model: Any) -> list[str]:
    """List the linear layers of the blocks, without the head, routers and other modalities."""
    if layers := _linear_layers(model):
        return layers
    listed = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in _matrices(model)}))
    raise ConfigError(
        text(
            f"target_modules: {type(model).__name__} has no linear layer for all-linear",
            f"target_modules：all-linear 在 {type(model).__name__} 中找不到线性层",
        ),
        hint=text(f"set target_modules: [{listed}]", f"设 target_modules: [{listed}]"),
    )


def _linear_layers(model: Any) -> list[str]:
    heads, parts = head_names(model), other_modalities(model)
    return [
        name
        for name, module in model.named_modules()
        if is_linear(module)
        and name not in heads
        and name.rsplit(".", 1)[-1] not in ROUTERS
        and not part_of(name, parts)
    ]


def _matrices(model: Any) -> list[str]:
    """List the layers with a matrix, of any class, such as Conv1D."""
    heads = head_names(model)
    return [
        name
        for name, module in model.named_modules()
        if name not in heads
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
        and not isinstance(module, torch.nn.Embedding)
    ]


def is_linear(module: Any) -> bool:
    """Whether a module is a linear layer, plain or quantized (GPTQ and AWQ have a qweight)."""
    return isinstance(module, torch.nn.Linear) or hasattr(module, "qweight")


def head_names(model: Any) -> set[str]:
    """Return the names of the layers that compute logits or scores."""
    head, parts = language_head(model), head_parts(model)
    return {
        name
        for name, module in model.named_modules()
        if (head is not None and module is head) or is_in_head(name, parts)
    }


def fused_experts(model: Any) -> dict[str, int]:
    """Count the experts stored as one 3-D parameter per layer, which all-linear cannot select."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            counts[".".join(name.split(".")[-3:])] += 1
    return dict(counts)


def require_matches(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError if a name matches no layer, with similar names of the model."""
    names = _names(model)
    missing = [target for target in targets if not any(_named(name, [target]) for name in names)]
    if not missing:
        return
    similar = similar_names(missing[0], names)
    all_linear = text("set target_modules: all-linear; ", "设 target_modules: all-linear；")
    all_linear = all_linear if _linear_layers(model) else ""
    raise ConfigError(
        text(
            f"target_modules: the model has no layer {', '.join(missing)}",
            f"target_modules：模型中没有层 {', '.join(missing)}",
        ),
        hint=text(f"{all_linear}similar names: {similar}", f"{all_linear}相近的名称有 {similar}"),
    )


def require_parameters(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError if target_parameters names a parameter that the model does not have."""
    names = [name for name, _ in model.named_parameters()]
    for target in targets:
        if not any(_named(name, [target]) for name in names):
            raise ConfigError(
                text(
                    f"target_parameters: the model has no parameter {target}",
                    f"target_parameters：模型中没有参数 {target}",
                ),
                hint=similar_names_hint(target, names),
            )


def similar_names(word: str, names: Iterable[str]) -> str:
    """Return the endings of names that are most similar to a word."""
    dots = word.strip(".").count(".") + 1
    endings = sorted({".".join(name.split(".")[-dots:]) for name in names})
    return ", ".join(near(word, endings, cutoff=0.3) or endings[:8])


def similar_names_hint(word: str, names: Iterable[str]) -> str:
    """Return the hint that lists the names most similar to a word."""
    similar = similar_names(word, names)
    return text(f"similar names: {similar}", f"相近的名称有 {similar}")


def matched(model: Any) -> dict[str, int]:
    """Count the layers with an adapter, by the last part of their names."""
    counts: Counter[str] = Counter()
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        parts = [part for part in name.split(".") if part != "base_layer"]
        parameter = getattr(module, "parameter_name", None)
        counts[f"{parts[-1]}.{parameter}" if parameter else parts[-1]] += 1
    return dict(counts)


def _names(model: Any) -> list[str]:
    return [name for name, _ in model.named_modules() if name]


def _named(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def compiled(key: str, pattern: str) -> re.Pattern[str]:
    """Compile a regular expression; raise ConfigError that names the key."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            text(
                f"{key}: {pattern} is not a regular expression ({error})",
                f"{key}：{pattern} 不是合法的正则表达式（{error}）",
            ),
            hint=text(
                "write a name, or escape the special characters with a backslash",
                "请写名称，或用反斜杠转义特殊字符",
            ),
        ) from None


def _named_layers(model: Any, targets: Sequence[str], note: Note) -> list[str]:
    """Return the layers that end in a target; those of other modalities only by a longer path.

    Raises ConfigError if a target names layers of other modalities alone.
    """
    parts, head = other_modalities(model), head_parts(model)
    chosen: dict[str, list[str]] = {target: [] for target in targets}
    spared: dict[str, list[str]] = {target: [] for target in targets}
    for name in _names(model):
        part = part_of(name, parts)
        for target in filter(lambda ending: _named(name, [ending]), targets):
            is_meant = not part or names_part(target, name, part)
            (chosen if is_meant else spared)[target].append(name)
    for target, names in spared.items():
        if names and not chosen[target]:
            raise _other_modality(target, names[0])
    spared_parts = sorted({part_of(name, parts) for names in spared.values() for name in names})
    if spared_parts:
        note(_left_out(spared_parts))
    layers = {name for names in chosen.values() for name in _below_head(names, head)}
    return [name for name in _names(model) if name in layers]


def _below_head(names: Sequence[str], head: Sequence[str]) -> Sequence[str]:
    """Leave out the layers of a classifier's head, unless there are no others."""
    return [name for name in names if not is_in_head(name, head)] or names


def _other_modality(target: str, name: str) -> ConfigError:
    return ConfigError(
        text(
            f"target_modules: {target} names only layers that read pictures or sound",
            f"target_modules：{target} 只对应读取图像或声音的层",
        ),
        hint=text(
            f"name the full path if you mean them, such as {name}",
            f"若确需训练，请写完整路径，例如 {name}",
        ),
    )


def _left_out(parts: Sequence[str]) -> str:
    names = ", ".join(parts)
    return text(
        f"target_modules leaves out the layers of the same names in {names}; to train them, name "
        "the full path",
        f"target_modules 不包含 {names} 中的同名层；如需训练请写完整路径",
    )


def _layers_matching(model: Any, pattern: str) -> list[str]:
    expression = compiled("target_modules", pattern)
    kinds = (torch.nn.Embedding, torch.nn.Conv1d)
    parts = other_modalities(model)
    layers = [
        name
        for name, module in model.named_modules()
        if expression.fullmatch(name)
        and (is_linear(module) or isinstance(module, kinds))
        and (not (part := part_of(name, parts)) or part.rpartition(".")[2] in pattern)
    ]
    if layers:
        return list(_below_head(layers, head_parts(model)))
    raise ConfigError(
        text(
            f"target_modules: no layer matches {pattern}",
            f"target_modules：没有层匹配 {pattern}",
        ),
        hint=text(
            f"a pattern must match full names, such as {_matrices(model)[0]}",
            f"模式须匹配完整名称，例如 {_matrices(model)[0]}",
        ),
    )


def _without_excluded(layers: Sequence[str], config: TunerFields) -> list[str]:
    """Remove the layers that exclude_modules names."""
    remaining = list(layers)
    for target in config.exclude_modules:
        pattern = compiled("exclude_modules", target)
        excluded = {name for name in layers if _named(name, [target]) or pattern.fullmatch(name)}
        if not excluded:
            raise ConfigError(
                text(
                    f"exclude_modules: {target} is not among the matched layers",
                    f"exclude_modules：{target} 不在匹配的层中",
                ),
                hint=similar_names_hint(target, layers),
            )
        remaining = [name for name in remaining if name not in excluded]
    return remaining


def _in_layers(layers: Sequence[str], config: TunerFields) -> list[str]:
    """Keep only the blocks that layers_to_transform lists."""
    if not config.layers_to_transform:
        return list(layers)
    existing = {number for name in layers for number in _numbers(name)}
    selected = set(config.layers_to_transform)
    if missing := sorted(selected - existing):
        last = max(existing, default=0)
        raise ConfigError(
            text(
                f"layers_to_transform: there is no layer {missing[0]} among those matched",
                f"layers_to_transform：匹配的层中没有第 {missing[0]} 层",
            ),
            hint=text(f"the last layer is {last}", f"最后一层为 {last}"),
        )
    return [name for name in layers if selected & set(_numbers(name))]


def _numbers(name: str) -> list[int]:
    """Return the number of the block in a name, the first number, as a list."""
    return [int(part) for part in name.split(".") if part.isdigit()][:1]


def _check_heads(model: Any, targets: str | list[str], chosen: Sequence[str], note: Note) -> None:
    """Accept a head or a router only if it is named explicitly, with a note."""
    heads, parts = head_names(model), head_parts(model)
    for name in chosen:
        last = name.rsplit(".", 1)[-1]
        if name not in heads and last not in ROUTERS:
            continue
        if is_in_head(name, parts):
            raise ConfigError(
                text(
                    f"target_modules: {name} is a part of the head, which is trained in full; "
                    "it takes no adapter",
                    f"target_modules：{name} 属于输出头，会完整训练，不加适配器",
                ),
                hint=text(f"remove {last}", f"去掉 {last}"),
            )
        patterns = [targets] if isinstance(targets, str) else targets
        if not any(re.search(rf"(^|\W){re.escape(last)}($|\W)", part) for part in patterns):
            raise ConfigError(
                text(
                    f"target_modules: {targets} matches {name}, the output head or a router",
                    f"target_modules：{targets} 匹配到 {name}（输出层或路由层）",
                ),
                hint=text(
                    f"set exclude_modules: [{last}], or name {last} explicitly if you mean it",
                    f"设 exclude_modules: [{last}]；若确实需要，请写出 {last}",
                ),
            )
    special = sorted(
        {name.rsplit(".", 1)[-1] for name in chosen if name in heads}
        | {last for name in chosen if (last := name.rsplit(".", 1)[-1]) in ROUTERS}
    )
    if special:
        note(
            text(
                f"target_modules names {', '.join(special)}: the output head or a router also gets "
                "an adapter",
                f"target_modules 写明了 {', '.join(special)}：输出层或路由层也会加适配器",
            )
        )


def _note_fused_experts(model: Any, config: TunerFields, note: Note) -> None:
    experts = fused_experts(model)
    if not experts or config.target_parameters:
        return
    counted = ", ".join(f"{name} x{count}" for name, count in sorted(experts.items()))
    names = ", ".join(sorted(experts))
    note(
        text(
            f"all-linear does not include the fused experts ({counted}); to train them, "
            f"set target_parameters: [{names}]",
            f"all-linear 不包含融合的专家参数（{counted}）；"
            f"如需训练请设 target_parameters: [{names}]",
        )
    )


def shortest_names(model: Any, chosen: Sequence[str]) -> list[str]:
    """Return the last parts of the names if these select the same layers, otherwise full names."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    selected = {name for name in _names(model) if _named(name, endings)}
    return endings if selected == set(chosen) else list(chosen)
