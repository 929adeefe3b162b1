"""What a training of all weights changed: the layers that take factors, and everything else.

Both models are mapped from their files. A matrix is in memory in float32 while it is looked at.
Shapes: E experts, O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from swiftbox.core.tuners.low_rank import square
from swiftbox.core.tuners.targets import (
    ROUTERS,
    head_names,
    is_linear,
    require_matches,
)
from swiftbox.core.tuners.written_adapter import ending_in
from swiftbox.core.weights.modalities import other_modalities, part_of
from swiftbox.errors import ConfigError, RunError
from swiftbox.language import text

BLOCK = 2**24
"""Elements that are compared in float32 at once: 64 MiB."""


@dataclass(frozen=True)
class ChangedLayer:
    """A layer, or a stack of experts, of both models."""

    name: str
    """The module; for experts the parameter."""
    before: torch.Tensor
    """(O, I), (I, O) if transposed; a stack of these for experts."""
    after: torch.Tensor
    is_transposed: bool
    is_parameter: bool
    """Whether it is a stack of experts, which peft adapts as a parameter."""

    def deltas(self) -> Iterator[torch.Tensor]:
        """Yield the change of each expert, (O, I) in float32; one for a plain layer."""
        pair = self.before, self.after
        stacks = pair if self.is_parameter else (self.before[None], self.after[None])
        for before, after in zip(*stacks, strict=True):
            delta = after.float() - before.float()
            yield delta.T if self.is_transposed else delta

    @property
    def is_changed(self) -> bool:
        """Tell whether any weight differs."""
        return not _equal(self.before, self.after)


@dataclass(frozen=True)
class OtherChange:
    """A changed weight that takes no factors."""

    name: str
    share: float
    """The norm of the change over that of the weight in the base."""
    rows: int = 0
    """Rows that only the tuned model has."""

    @property
    def module(self) -> str:
        """Return the module that holds it."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class ModelChanges:
    """All that differs between two models."""

    layers: tuple[ChangedLayer, ...]
    others: tuple[OtherChange, ...]


def compare_weights(base_model: Any, tuned: Any, targets: str | Sequence[str]) -> ModelChanges:
    """Return what differs between two models of one class.

    Raises RunError if they do not have the same weights, ConfigError for targets that match
    nothing or take no factors.
    """
    before, after = base_model.state_dict(keep_vars=True), tuned.state_dict(keep_vars=True)
    if before.keys() != after.keys():
        raise _other_weights(sorted(before.keys() ^ after.keys()))
    layers = {f"{name}.weight": layer for name, layer in _layers(base_model, tuned, targets)}
    experts = dict(_experts(base_model, tuned, targets))
    changed = [layer for layer in (*layers.values(), *experts.values()) if layer.is_changed]
    others, seen = [], set()
    for name, weight in before.items():
        pair = id(weight), id(after[name])  # tied weights are one
        if name in layers or name in experts or pair in seen:
            continue
        seen.add(pair)
        change = _other_change(name, weight, after[name])
        if change is not None:
            others.append(change)
    return ModelChanges(tuple(changed), tuple(others))


def _layers(
    base_model: Any, tuned: Any, targets: str | Sequence[str]
) -> Iterator[tuple[str, ChangedLayer]]:
    modules = dict(base_model.named_modules())
    for name in _layer_names(base_model, targets):
        module = modules[name]
        if not isinstance(module, torch.nn.Linear | Conv1D):
            raise _takes_no_factors(name)
        pair = module.weight, tuned.get_submodule(name).weight
        if pair[0].shape != pair[1].shape:
            raise _other_shape(name, *pair)
        yield name, ChangedLayer(name, *pair, isinstance(module, Conv1D), is_parameter=False)


def _layer_names(model: Any, targets: str | Sequence[str]) -> Iterator[str]:
    """Yield the layers that get an adapter: the linear ones of the blocks, or those named."""
    if targets != "all-linear":
        names = [targets] if isinstance(targets, str) else list(targets)
        parameters = [name for name, _ in _stacks(model)]
        names = [name for name in names if not ending_in(parameters, name)]
        require_matches(model, names)
        for name, _ in model.named_modules():
            if any(ending_in([name], end) for end in names):
                yield name
        return
    heads, parts = head_names(model), other_modalities(model)
    for name, module in model.named_modules():
        is_layer = is_linear(module) or isinstance(module, Conv1D)
        is_router = name.rpartition(".")[2] in ROUTERS
        if is_layer and name not in heads and not is_router and not part_of(name, parts):
            yield name


def _stacks(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the stacks of experts, (E, O, I), by the names of their parameters."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            yield name, parameter


def _experts(
    base_model: Any, tuned: Any, targets: str | Sequence[str]
) -> Iterator[tuple[str, ChangedLayer]]:
    names = [targets] if isinstance(targets, str) else targets
    for name, weight in _stacks(base_model):
        if targets == "all-linear" or any(ending_in([name], end) for end in names):
            module = base_model.get_submodule(name.rpartition(".")[0])
            is_transposed = bool(getattr(module, "is_transposed", False))
            after = tuned.get_parameter(name)
            yield name, ChangedLayer(name, weight, after, is_transposed, is_parameter=True)


def _other_change(name: str, before: torch.Tensor, after: torch.Tensor) -> OtherChange | None:
    """Return how a weight differs; None if it does not."""
    if before.shape[1:] != after.shape[1:] or before.dim() != after.dim():
        raise _other_shape(name, before, after)
    rows = after.shape[0] - before.shape[0] if before.dim() else 0
    if (rows and before.dim() < 2) or rows < 0:
        raise _other_shape(name, before, after)
    if not rows and _equal(before, after):
        return None
    scale = change = 0.0
    blocks = max(1, before.numel() // BLOCK)
    pairs = zip(before.flatten().chunk(blocks), _common(before, after).chunk(blocks), strict=True)
    for part, other in pairs:  # embeddings in float32 would take gigabytes
        scale += square(part.float())
        change += square(other.float() - part.float())
    return OtherChange(name, (change / scale) ** 0.5 if scale else float(change > 0), rows)


def _common(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return the elements of the tuned weight that the base has too, in one dimension."""
    return after.flatten()[: before.numel()]


def _equal(before: torch.Tensor, after: torch.Tensor) -> bool:
    if before.dtype == after.dtype:
        return torch.equal(before, after)
    return torch.equal(before.float(), after.float())


# ---- messages


def _other_weights(names: Sequence[str]) -> RunError:
    return RunError(
        text(
            f"the tuned model and its base do not have the same weights ({names[0]} ...)",
            f"微调后的模型与基座的权重名称不同（{names[0]} ...）",
        ),
        hint=_its_base(),
    )


def _other_shape(name: str, before: torch.Tensor, after: torch.Tensor) -> RunError:
    shapes = [" x ".join(map(str, weight.shape)) for weight in (before, after)]
    return RunError(
        text(
            f"{name} is {shapes[0]} in the base, {shapes[1]} in the tuned model",
            f"{name} 在基座中为 {shapes[0]}，在微调后的模型中为 {shapes[1]}",
        ),
        hint=_its_base(),
    )


def _its_base() -> str:
    return text(
        "set model to the base that tuned_model was trained from",
        "请将 model 设为 tuned_model 的训练基座",
    )


def _takes_no_factors(name: str) -> ConfigError:
    return ConfigError(
        text(
            f"target_modules: {name} is not a linear layer",
            f"target_modules：{name} 不是线性层",
        ),
        hint=text(
            f"move {name.rpartition('.')[2]} to modules_to_save, which saves it whole",
            f"请将 {name.rpartition('.')[2]} 移到 modules_to_save，即可完整保存",
        ),
    )
