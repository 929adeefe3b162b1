"""Options of adapters and frozen weights in axolotl."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    adopted,
    renamed,
    split_names,
    unsupported,
)
from swiftbox.language import text

QUANTIZATION = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
PART = re.compile(r"\[\d*:\d*\]$")
"""The end of a pattern that names some rows of a weight."""


def unfrozen(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the only parameters that are trained; rows of a weight cannot be chosen."""
    patterns = split_names(value) if isinstance(value, (list, str)) else []
    if not patterns or any(PART.search(pattern) for pattern in patterns):
        why = text("weights are trained as a whole here", "此处的权重只能整体训练")
        return [unsupported(why)]
    return adopted(trainable_parameters=value)


def quantization(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate further options of the 4-bit base."""
    return [
        KeyOutcome("adopted", {key: option}, within=f".{key}")
        if key in QUANTIZATION
        else unsupported(text("no counterpart in swiftbox", "此处没有对应设置"), f".{key}")
        for key, option in (value if isinstance(value, Mapping) else {}).items()
    ]


ADAPTER_ROWS: Rows = {
    "peft_layers_to_transform": renamed("layers_to_transform"),
    "lora_rank_pattern": renamed("rank_pattern"),
    "lora_alpha_pattern": renamed("alpha_pattern"),
    "bnb_config_kwargs": quantization,
    "unfrozen_parameters": unfrozen,
}
