"""Full tuning, with parts of the model frozen where the config says so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from swiftbox.config.tuners import TunerFields
from swiftbox.core.tuners.targets import compiled, nearest
from swiftbox.errors import ConfigError
from swiftbox.language import text


def freeze(model: Any, config: TunerFields) -> None:
    """Freeze what matches freeze_parameters and not trainable_parameters.

    With trainable_parameters alone everything else is frozen. Patterns are searched for anywhere
    in a parameter's name; raises ConfigError for one that is found nowhere.
    """
    names = [name for name, _ in model.named_parameters()]
    kept = _found("trainable_parameters", config.trainable_parameters, names)
    frozen = _found("freeze_parameters", config.freeze_parameters, names)
    if config.trainable_parameters and not config.freeze_parameters:
        frozen = set(names)
    for name, parameter in model.named_parameters():
        if name in frozen - kept:
            parameter.requires_grad_(False)
    if frozen - kept == set(names):
        raise ConfigError(
            text(
                "freeze_parameters: every parameter is frozen",
                "freeze_parameters：所有参数都被冻结",
            ),
            hint=text(
                "name less, or add trainable_parameters", "减少范围或加 trainable_parameters"
            ),
        )


def pieces(names: Sequence[str]) -> list[str]:
    """Return what stands between the dots of names, and two of these in a row, for hints."""
    parts = [name.split(".") for name in names]
    pairs = {f"{a}.{b}" for part in parts for a, b in pairwise(part)}
    return sorted({one for part in parts for one in part} | pairs)


def _found(key: str, patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for one in patterns:
        pattern = compiled(key, one)
        matches = {name for name in names if pattern.search(name)}
        if not matches:
            near = nearest(one, pieces(names))
            raise ConfigError(
                text(f"{key}: no parameter matches {one}", f"{key}：没有参数匹配 {one}"),
                hint=text(f"near names are {near}", f"相近的名称有 {near}"),
            )
        found |= matches
    return found
