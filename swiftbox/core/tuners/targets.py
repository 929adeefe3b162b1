"""Which layers get an adapter: looked up in the very model, checked, and shown before training."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

TOWERS = ("vision", "visual", "audio", "image", "speech")
"""Parts of multimodal models that all-linear leaves alone."""

ROUTERS = ("gate", "router")
"""Linear layers that choose experts; an adapter there would change the routing."""

SCORES = ("score", "classifier")
"""Heads of sequence classification: new, so trained and saved in full."""

Note = Callable[[str], None]


def choose_targets(model: Any, config: TunerFields, note: Note) -> list[str]:
    """List the names of the layers that get an adapter, as short as they are exact.

    Raises ConfigError where nothing matches, and where a pattern reaches a head or a router that
    it does not name.
    """
    asked = config.target_modules
    if asked == "all-linear":
        chosen = linear_layers(model)
        _tell_of_experts(model, config, note)
    elif isinstance(asked, str) and not asked.isidentifier():
        chosen = _matching(model, asked)
    else:
        names = [asked] if isinstance(asked, str) else asked
        if not names and config.target_parameters:
            return []
        require_matches(model, names)
        chosen = [name for name in _names(model) if _named(name, names)]
    chosen = _narrowed(chosen, config)
    _check_heads(model, asked, chosen, note)
    return _shortest(model, chosen)


def linear_names(model: Any) -> list[str]:
    """List the linear layers that all-linear means, by their last names where these are enough."""
    return _shortest(model, linear_layers(model))


def linear_layers(model: Any) -> list[str]:
    """List the linear layers of the blocks: not the head, not routers, not other towers."""
    heads = head_names(model)
    wanted = [
        name
        for name, module in model.named_modules()
        if is_linear(module)
        and name not in heads
        and name.rsplit(".", 1)[-1] not in ROUTERS
        and not any(tower in part for part in name.split(".") for tower in TOWERS)
    ]
    if wanted:
        return wanted
    raise ConfigError(
        text(
            f"target_modules: all-linear finds no linear layer in {type(model).__name__}",
            f"target_modules：all-linear 在 {type(model).__name__} 中找不到线性层",
        ),
        hint=text(
            "name the layers; the log lists what the model has",
            "请写出层名；日志列出了模型中的层",
        ),
    )


def is_linear(module: Any) -> bool:
    """Tell whether a module is a linear layer, plain or quantized (GPTQ and AWQ keep qweight)."""
    return isinstance(module, torch.nn.Linear) or hasattr(module, "qweight")


def head_names(model: Any) -> set[str]:
    """Return the names of the layers that make logits or scores."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {
        name
        for name, module in model.named_modules()
        if (head is not None and module is head) or name in SCORES
    }


def fused_experts(model: Any) -> dict[str, int]:
    """Count the experts that are one 3-D parameter per layer, which all-linear does not reach."""
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            found[".".join(name.split(".")[-3:])] += 1
    return dict(found)


def require_matches(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError when a name matches no layer, with the nearest that exists."""
    names = _names(model)
    missing = [one for one in targets if not any(_named(name, [one]) for name in names)]
    if not missing:
        return
    raise ConfigError(
        text(
            f"target_modules: the model has no {', '.join(missing)}",
            f"target_modules：模型中没有 {', '.join(missing)}",
        ),
        hint=text(
            f"set target_modules: all-linear; near names are {nearest(missing[0], names)}",
            f"设 target_modules: all-linear；相近的名称有 {nearest(missing[0], names)}",
        ),
    )


def require_parameters(model: Any, targets: Sequence[str]) -> None:
    """Raise ConfigError when target_parameters names a parameter that the model lacks."""
    names = [name for name, _ in model.named_parameters()]
    for target in targets:
        if not any(_named(name, [target]) for name in names):
            raise ConfigError(
                text(
                    f"target_parameters: the model has no {target}",
                    f"target_parameters：模型中没有 {target}",
                ),
                hint=text(
                    f"near names are {nearest(target, names)}",
                    f"相近的名称有 {nearest(target, names)}",
                ),
            )


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the ends of names most like a word, for a hint."""
    dots = word.strip(".").count(".") + 1
    endings = sorted({".".join(name.split(".")[-dots:]) for name in names})
    return ", ".join(difflib.get_close_matches(word, endings, n=3, cutoff=0.3) or endings[:8])


def matched(model: Any) -> dict[str, int]:
    """Count the layers that got an adapter, by the last part of their names."""
    found: Counter[str] = Counter()
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        parts = [part for part in name.split(".") if part != "base_layer"]
        parameter = getattr(module, "parameter_name", None)
        found[f"{parts[-1]}.{parameter}" if parameter else parts[-1]] += 1
    return dict(found)


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
            )
        ) from None


def _matching(model: Any, pattern: str) -> list[str]:
    whole = compiled("target_modules", pattern)
    kinds = (torch.nn.Embedding, torch.nn.Conv1d)
    found = [
        name
        for name, module in model.named_modules()
        if whole.fullmatch(name) and (is_linear(module) or isinstance(module, kinds))
    ]
    if found:
        return found
    raise ConfigError(
        text(
            f"target_modules: no layer matches {pattern}",
            f"target_modules：没有层匹配 {pattern}",
        ),
        hint=text(
            f"a pattern matches whole names, such as {linear_layers(model)[0]}",
            f"模式须匹配完整名称，例如 {linear_layers(model)[0]}",
        ),
    )


def _narrowed(chosen: Sequence[str], config: TunerFields) -> list[str]:
    """Leave out exclude_modules, and the blocks that layers_to_transform does not number."""
    left = list(chosen)
    for one in config.exclude_modules:
        pattern = compiled("exclude_modules", one)
        out = [name for name in chosen if _named(name, [one]) or pattern.fullmatch(name)]
        if not out:
            raise ConfigError(
                text(
                    f"exclude_modules: {one} is none of the layers matched",
                    f"exclude_modules：{one} 不在匹配的层中",
                ),
                hint=text(
                    f"near names are {nearest(one, chosen)}",
                    f"相近的名称有 {nearest(one, chosen)}",
                ),
            )
        left = [name for name in left if name not in out]
    if config.layers_to_transform:
        there = {number for name in left for number in _numbers(name)}
        missing = sorted(set(config.layers_to_transform) - there)
        if missing:
            raise ConfigError(
                text(
                    f"layers_to_transform: there is no layer {missing[0]} among those matched",
                    f"layers_to_transform：匹配的层中没有第 {missing[0]} 层",
                ),
                hint=text(
                    f"they go up to {max(there, default=0)}", f"最大为 {max(there, default=0)}"
                ),
            )
        wanted = set(config.layers_to_transform)
        left = [name for name in left if wanted & set(_numbers(name))]
    if left:
        return left
    raise ConfigError(
        text(
            "target_modules: exclude_modules leaves no layer",
            "target_modules：exclude_modules 排除了所有层",
        )
    )


def _numbers(name: str) -> list[int]:
    """Return the number of the block in a name: the first one."""
    return [int(part) for part in name.split(".") if part.isdigit()][:1]


def _check_heads(model: Any, asked: str | list[str], chosen: Sequence[str], note: Note) -> None:
    """Let a head or a router through only where it is named, and say so."""
    heads = head_names(model)
    for name in chosen:
        last = name.rsplit(".", 1)[-1]
        if name not in heads and last not in ROUTERS:
            continue
        if last in SCORES and name in heads:
            raise ConfigError(
                text(
                    f"target_modules: {name} is new and trained in full; it takes no adapter",
                    f"target_modules：{name} 是新的层，会完整训练，不加适配器",
                ),
                hint=text("leave it out", "去掉它"),
            )
        words = [asked] if isinstance(asked, str) else asked
        if not any(re.search(rf"(^|\W){re.escape(last)}($|\W)", word) for word in words):
            raise ConfigError(
                text(
                    f"target_modules: {asked} reaches {name}, the output head or a router",
                    f"target_modules：{asked} 匹配到 {name}（输出层或路由层）",
                ),
                hint=text(
                    f"set exclude_modules: [{last}], or name {last} where it is meant",
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
                f"target_modules names {', '.join(special)}: the output head or a router is "
                "adapted too, as asked",
                f"target_modules 写明了 {', '.join(special)}：按要求也给输出层或路由层加适配器",
            )
        )


def _tell_of_experts(model: Any, config: TunerFields, note: Note) -> None:
    experts = fused_experts(model)
    if not experts or config.target_parameters:
        return
    counted = ", ".join(f"{name} x{count}" for name, count in sorted(experts.items()))
    names = ", ".join(sorted(experts))
    note(
        text(
            f"all-linear does not reach the fused experts ({counted}); "
            f"target_parameters: [{names}] does",
            f"all-linear 不包含融合的专家参数（{counted}）；"
            f"如需训练请设 target_parameters: [{names}]",
        )
    )


def _shortest(model: Any, chosen: Sequence[str]) -> list[str]:
    """Return the last parts of the names where these mean the same layers, else whole names."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    same = {name for name in _names(model) if _named(name, endings)}
    return endings if same == set(chosen) else list(chosen)
