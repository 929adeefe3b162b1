"""Full fine-tuning, optionally with some parameters frozen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from swiftbox.config.tuners import TunerFields
from swiftbox.core.tuners.targets import compiled, similar_names_hint
from swiftbox.core.weights.modalities import other_modalities, part_of
from swiftbox.errors import ConfigError
from swiftbox.language import text


def freeze(model: Any, config: TunerFields) -> None:
    """Freeze parameters that match freeze_parameters but not trainable_parameters.

    With only trainable_parameters, everything else is frozen. Patterns are searched anywhere in a
    parameter's name. What reads pictures or sound is frozen unless trainable_parameters match it:
    text alone gives it no gradients. Raises ConfigError for a pattern without a match.
    """
    names = [name for name, _ in model.named_parameters()]
    trainable = _matching_names("trainable_parameters", config.trainable_parameters, names)
    frozen = _matching_names("freeze_parameters", config.freeze_parameters, names)
    if config.trainable_parameters and not config.freeze_parameters:
        frozen = set(names)
    parts = other_modalities(model)
    frozen |= {name for name in names if part_of(name, parts)}
    for name, parameter in model.named_parameters():
        if name in frozen - trainable:
            parameter.requires_grad_(False)
    if frozen - trainable == set(names):
        raise ConfigError(
            text(
                "freeze_parameters: every parameter is frozen",
                "freeze_parameters：所有参数都被冻结",
            ),
            hint=text(
                "narrow it down, or set trainable_parameters", "缩小范围，或设 trainable_parameters"
            ),
        )


def name_parts(names: Sequence[str]) -> list[str]:
    """Return the dotted parts of names and adjacent pairs of them, for hints."""
    parts = [name.split(".") for name in names]
    pairs = {f"{a}.{b}" for part in parts for a, b in pairwise(part)}
    return sorted({word for part in parts for word in part} | pairs)


def _matching_names(key: str, patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    matching: set[str] = set()
    for pattern in patterns:
        expression = compiled(key, pattern)
        matches = {name for name in names if expression.search(name)}
        if not matches:
            raise ConfigError(
                text(f"{key}: no parameter matches {pattern}", f"{key}：没有参数匹配 {pattern}"),
                hint=similar_names_hint(pattern, name_parts(names)),
            )
        matching |= matches
    return matching
