"""GaLore (arXiv:2403.03507), which other tools switch on with use_galore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    Translate,
    adopted,
    no_effect,
    split_names,
    unsupported,
)
from swiftbox.language import text


def galore_rows(gap_key: str, defaults: Mapping[str, Any]) -> Rows:
    """Return the rows of a tool: the key of its interval, and its defaults by our keys."""
    keys = {
        "galore_rank": "galore_rank",
        gap_key: "galore_update_proj_gap",
        "galore_scale": "galore_scale",
    }

    def use(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if not value or value == "false":
            return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
        chosen = {ours for theirs, ours in keys.items() if foreign.has(theirs)}
        relied_on = {key: default for key, default in defaults.items() if key not in chosen}
        return adopted(optim="galore_adamw", **relied_on)

    def option(ours: str) -> Translate:
        def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
            return adopted(**{ours: value}) if foreign.has("use_galore") else unused()

        return translate

    return {
        "use_galore": use,
        **{theirs: option(ours) for theirs, ours in keys.items()},
        **{key: fixed(usual) for key, usual in FIXED.items()},
    }


FIXED: Mapping[str, tuple[Any, ...]] = {
    "galore_target": ("all",),
    "galore_target_modules": (),
    "galore_proj_type": ("std",),
    "galore_layerwise": (False,),
    "galore_with_embedding": (False,),
    "galore_optim_per_parameter": (False,),
    "galore_quantization": (False,),
    "galore_proj_quant": (False,),
}
"""Options of GaLore, and the values with which it is the one that is built in."""


def fixed(usual: tuple[Any, ...]) -> Translate:
    """Return the row of an option of GaLore that cannot be chosen here."""

    def translate(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
        if not foreign.has("use_galore"):
            return unused()
        if value in usual or value == [*usual]:
            return [no_effect(text("the same here", "此处相同"))]
        return [
            unsupported(
                text(
                    "GaLore projects all matrices of the blocks here, to one side",
                    "此处的 GaLore 对各层的所有矩阵做单侧投影",
                )
            )
        ]

    return translate


def unused() -> list[KeyOutcome]:
    """Return the outcome of an option without use_galore."""
    return [no_effect(text("has an effect only with use_galore", "仅在 use_galore 时有意义"))]


def optimizer_arguments(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate arguments of an optimizer: here those of GaLore, as a mapping or as `k=v` text."""
    arguments = value
    if isinstance(value, str):
        arguments = dict(part.split("=", 1) for part in split_names(value) if "=" in part)
    named = [foreign.values.get(key) for key in ("optim", "optimizer")]
    is_galore = any(str(name).startswith("galore") for name in named)
    outcomes: list[KeyOutcome] = []
    for key, argument in (arguments if isinstance(arguments, Mapping) else {}).items():
        if is_galore and key in ARGUMENTS:
            outcomes.append(KeyOutcome("adopted", {ARGUMENTS[key]: argument}, within=f".{key}"))
        else:
            why = text("no counterpart in swiftbox", "此处没有对应设置")
            outcomes.append(unsupported(why, f".{key}"))
    return outcomes or [unsupported(text("is not read", "无法读取"))]


ARGUMENTS = {
    "rank": "galore_rank",
    "update_proj_gap": "galore_update_proj_gap",
    "scale": "galore_scale",
}
"""Names of GaLore's settings in transformers' optim_args."""
