"""Frozen and trained parameters of ms-swift: by prefix, by expression, or as a share.

There, `trainable_parameters` are exceptions from what is frozen; here they are the only parameters
that are trained, if nothing is frozen.
"""

from __future__ import annotations

import re
from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    Translate,
    adopted,
    no_effect,
    number,
    split_names,
    unsupported,
)
from swiftbox.language import text

FREEZING = ("freeze_parameters", "freeze_parameters_regex", "freeze_parameters_ratio")


def patterns(kind: str, foreign: ForeignConfig) -> list[str]:
    """Return the expressions of the prefixes and the expression under two keys."""
    prefixes = split_names(foreign.values.get(kind) or [])
    expression = foreign.values.get(f"{kind}_regex")
    return [
        *(f"^{re.escape(name)}" for name in prefixes),
        *([str(expression)] if expression else []),
    ]


def selection(kind: str) -> Translate:
    """Return the row of parameters that are frozen, or of exceptions."""

    def translate(_value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if kind == "freeze_parameters" and number(foreign.values.get(FREEZING[2])) == 1:
            return [no_effect(text("all parameters are frozen", "已冻结所有参数"))]
        if kind == "trainable_parameters" and not any(map(foreign.has, FREEZING)):
            return [no_effect(text("nothing is frozen", "没有冻结任何参数"))]
        return [KeyOutcome("adopted", {kind: patterns(kind, foreign)})]

    return translate


def share(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the share of parameters that is frozen: none, or all but the exceptions."""
    if not number(value):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    if number(value) == 1:
        return adopted(trainable_parameters=patterns("trainable_parameters", foreign))
    why = text(
        "name the layers in freeze_parameters instead of a share",
        "请在 freeze_parameters 中写明层，而不是比例",
    )
    return [unsupported(why)]


PARAMETER_ROWS: Rows = {
    "freeze_parameters": selection("freeze_parameters"),
    "freeze_parameters_regex": selection("freeze_parameters"),
    "freeze_parameters_ratio": share,
    "trainable_parameters": selection("trainable_parameters"),
    "trainable_parameters_regex": selection("trainable_parameters"),
}
