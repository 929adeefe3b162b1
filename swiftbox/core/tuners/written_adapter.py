"""A LoRA adapter of given factors, in the layout in which peft keeps them.

Every layer has the scale 1, which all programs read the same.
Shapes: E experts (1 for a plain layer), O outputs, I inputs, R rank.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from swiftbox.core.tuners.low_rank import Factors
from swiftbox.core.tuners.targets import shortest_names
from swiftbox.core.weights.score_head import PREFIX
from swiftbox.errors import ResultError
from swiftbox.language import text


def lora_config(
    base_model: Any, factors: Mapping[str, Factors], base_name: str, revision: str | None
) -> LoraConfig:
    """Return peft's config of an adapter with these factors, by module or parameter."""
    parameters = dict(base_model.named_parameters())
    modules = [name for name in factors if name not in parameters]
    stacks = [name for name in factors if name in parameters]
    ranks = {name: part.rank for name, part in factors.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0] if ranks else 1
    pattern = {re.escape(name): number for name, number in ranks.items() if number != rank}
    layers = [base_model.get_submodule(name) for name in modules]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=rank,
        rank_pattern=pattern,
        alpha_pattern=dict(pattern),
        target_modules=shortest_names(base_model, modules) if modules else [],
        target_parameters=_short_stacks(parameters, stacks) or None,
        fan_in_fan_out=bool(layers) and not isinstance(layers[0], torch.nn.Linear),
        base_model_name_or_path=base_name,
        revision=revision,
        inference_mode=True,
    )


def _short_stacks(names: Iterable[str], stacks: Sequence[str]) -> list[str]:
    """Return the ends of the names of stacks, if these select no other parameters."""
    ends = sorted({".".join(name.split(".")[-3:]) for name in stacks})
    selected = [name for name in names if any(ending_in([name], end) for end in ends)]
    return ends if sorted(selected) == sorted(stacks) else list(stacks)


def ending_in(names: Iterable[str], end: str) -> list[str]:
    """Return the names that are an end, or end in it."""
    return [name for name in names if name == end or name.endswith(f".{end}")]


def adapted_layers(network: Any) -> dict[str, Any]:
    """Return peft's layers by the names of the modules, or parameters, that they adapt."""
    layers = {}
    for name, module in network.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        parts = [part for part in name.removeprefix(PREFIX).split(".") if part != "base_layer"]
        parameter = getattr(module, "parameter_name", None)
        layers[".".join([*parts, parameter] if parameter else parts)] = module
    return layers


def fill_layers(network: Any, factors: Mapping[str, Factors], dtype: str) -> None:
    """Give the layers of a network their factors; raise ResultError on overflow.

    Those of experts lie side by side.
    """
    for name, layer in adapted_layers(network).items():
        count, outputs, rank = factors[name].outside.shape
        inside = factors[name].inside.reshape(count * rank, -1)  # (E R, I)
        outside = factors[name].outside.permute(1, 2, 0).reshape(outputs, rank * count)  # (O, R E)
        layer.lora_A["default"].weight.data = cast_finite(name, inside, dtype)
        layer.lora_B["default"].weight.data = cast_finite(name, outside, dtype)


def factors_of(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors of a layer of peft, (E, O, R) with its scale and (E, R, I)."""
    inside = layer.lora_A["default"].weight.data.float()
    outside = layer.lora_B["default"].weight.data.float() * layer.scaling["default"]
    count = getattr(layer, "num_experts", 1)
    outside = outside.reshape(len(outside), -1, count).permute(2, 0, 1)
    return outside, inside.reshape(count, -1, inside.shape[1])


def cast_finite(name: str, value: torch.Tensor, dtype: str) -> torch.Tensor:
    """Cast a tensor; raise ResultError if the type cannot hold its values."""
    cast = value.to(getattr(torch, dtype)).contiguous()
    if not torch.isfinite(cast).all():
        raise _overflow(name, dtype)
    return cast


def _overflow(name: str, dtype: str) -> ResultError:
    return ResultError(
        text(f"{name} exceeds the range of {dtype}", f"{name} 超出 {dtype} 的范围"),
        hint=text("set dtype: float32", "设 dtype: float32"),
    )
