"""What an extraction says: errors, what was left out, and how near the adapter is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.core.tuners.model_changes import OtherChange
from swiftbox.core.tuners.targets import similar_names_hint
from swiftbox.core.weights.compare import OutputDifference
from swiftbox.errors import ConfigError, ResultError, RunError
from swiftbox.formatting import counted
from swiftbox.language import text

LISTED = 6
"""Kinds of layers that a message names."""


def total_message(report: Mapping[str, Any]) -> str:
    """Say what the factors keep of the changes of their layers."""
    layers = report["layers"]
    if not layers:
        return text("no layer changed", "没有层发生变化")
    name = max(layers, key=lambda layer: layers[layer]["error"])
    ranks = sorted({layer["rank"] for layer in layers.values()})
    rank = f"{ranks[0]}-{ranks[-1]}" if len(ranks) > 1 else str(ranks[0])
    energy = 1 - report["error"] ** 2
    return text(
        f"{counted(len(layers), 'layer')}, rank {rank}: the factors keep {energy:.2%} of the "
        f"squared change, the error is {report['error']:.2%} of its norm; "
        f"worst {name}: {layers[name]['error']:.2%}",
        f"{len(layers)} 层，秩 {rank}：分解保留变化平方和的 {energy:.2%}，误差为变化范数的 "
        f"{report['error']:.2%}；最差的层 {name}：{layers[name]['error']:.2%}",
    )


def dropped_message(changes: Sequence[OtherChange], other_changes: str) -> str:
    """Say which changes are left out, and how large they are."""
    reason = text("other_changes: save keeps them", "设 other_changes: save 可保留")
    if other_changes == "save":
        reason = text("an adapter of peft cannot hold them", "peft 的适配器无法保存它们")
    return text(f"left out: {_listed(changes)}; {reason}", f"已舍弃：{_listed(changes)}；{reason}")


def _listed(changes: Iterable[OtherChange]) -> str:
    """Return the kinds of weights with the largest change of each, largest first."""
    kinds: defaultdict[str, list[float]] = defaultdict(list)
    for change in changes:
        kinds[".".join(change.name.split(".")[-2:])].append(change.share)
    order = sorted(kinds, key=lambda kind: -max(kinds[kind]))
    parts = [f"{kind} x{len(kinds[kind])} ({max(kinds[kind]):.2%})" for kind in order[:LISTED]]
    if len(order) > LISTED:
        parts.append(text(f"{len(order) - LISTED} more kinds", f"另有 {len(order) - LISTED} 种"))
    return text(", ", "、").join(parts)


def outputs_message(before: OutputDifference, after: OutputDifference) -> str:
    """Say how far the logits of the base, and of base and adapter, are from the tuned model's."""
    return text(
        f"logits of the tuned model: the base differs by {before.mean:.2g} on average, base and "
        f"adapter by {after.mean:.2g} (at most {after.maximum:.2g}); "
        f"{after.same_answers} of {after.answers} greedy answers are equal",
        f"与微调后模型的 logit 相比：基座平均相差 {before.mean:.2g}，基座加适配器平均相差 "
        f"{after.mean:.2g}（最大 {after.maximum:.2g}）；"
        f"{after.answers} 个贪心回答中 {after.same_answers} 个相同",
    )


def equal_models(folder: Path, dropped: Sequence[OtherChange]) -> RunError:
    """Return the error for a model whose layers are those of its base."""
    if dropped:
        return RunError(
            text(
                f"no linear layer of {folder} differs from the base; what differs: "
                f"{_listed(dropped)}",
                f"{folder} 的线性层与基座相同；不同之处：{_listed(dropped)}",
            ),
            hint=text("set other_changes: save", "设 other_changes: save"),
        )
    return RunError(
        text(f"{folder} has the weights of its base", f"{folder} 的权重与基座完全相同"),
        hint=text("set model to the model it was trained from", "请将 model 设为其训练前的模型"),
    )


def no_such_modules(missing: Sequence[str], names: Iterable[str]) -> ConfigError:
    """Return the error for modules_to_save that the model does not have."""
    listed = ", ".join(missing)
    return ConfigError(
        text(
            f"modules_to_save: the model has no module {listed}",
            f"modules_to_save：模型中没有模块 {listed}",
        ),
        hint=similar_names_hint(missing[0], [name for name in names if name]),
    )


def rows_without_place(changes: Sequence[OtherChange]) -> ConfigError:
    """Return the error for new rows of the embeddings that nothing would hold."""
    listed = ", ".join(sorted({change.module.rpartition(".")[2] for change in changes}))
    rows = max(change.rows for change in changes)
    return ConfigError(
        text(
            f"tuned_model: its {listed} has {rows:,} rows that the base does not have",
            f"tuned_model：其 {listed} 比基座多 {rows:,} 行",
        ),
        hint=text(f"set modules_to_save: [{listed}]", f"设 modules_to_save: [{listed}]"),
    )


def wrong_layer(name: str, error: float, limit: float) -> ResultError:
    """Return the error for a written layer that is not what its factors were."""
    return ResultError(
        text(
            f"{name} of the written adapter is off by {error:.3g} of its change "
            f"(limit {limit:.3g})",
            f"写出的适配器中 {name} 的误差为其变化的 {error:.3g}（上限 {limit:.3g}）",
        ),
        hint=text("nothing was written", "未写入任何内容"),
    )


def wrong_outputs(difference: OutputDifference) -> ResultError:
    """Return the error for an adapter that holds every change, but answers otherwise."""
    return ResultError(
        text(
            "base and adapter differ from the tuned model although nothing was left out: logits "
            f"by {difference.maximum:.2g}",
            "未舍弃任何变化，但基座加适配器与微调后的模型不一致："
            f"logit 最大差 {difference.maximum:.2g}",
        ),
        hint=text("nothing was written", "未写入任何内容"),
    )
