"""(IA)3 (arXiv:2205.05638): learned vectors scale keys, values and feed-forward inputs."""

from __future__ import annotations

from typing import Any

from peft import IA3Config
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD_BY_FAMILY,
)
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS_BY_FAMILY,
)

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

PAPER_LAYERS = ("k_proj", "v_proj", "down_proj")
"""The layers of the paper under their most common names."""

FEEDFORWARD = ("down_proj", "fc2", "wo", "dense_4h_to_h", "c_proj", "w2")


def adapter_config(model: Any, config: TunerFields, common: dict[str, Any]) -> IA3Config:
    """Return peft's config; `all-linear` selects the layers of the paper."""
    targets = common["target_modules"]
    family = model.config.model_type
    known = (*FEEDFORWARD, *FEEDFORWARD_BY_FAMILY.get(family, ()))
    if config.target_modules == "all-linear":
        last = {name: name.rsplit(".", 1)[-1] for name in targets}
        paper = (
            PAPER_LAYERS
            if set(PAPER_LAYERS) <= set(last.values())
            else TARGETS_BY_FAMILY.get(family, ())
        )
        targets = [name for name in targets if last[name] in paper]
    if not targets:
        raise ConfigError(
            text(
                f"target_modules: ia3 does not know the key and value layers of {family}",
                f"target_modules：ia3 不认识 {family} 的 key 与 value 层",
            ),
            hint=text(
                "set target_modules to the key, value and feed-forward layers, and set "
                "feedforward_modules",
                "请在 target_modules 中写出 key、value 与前馈层，并设 feedforward_modules",
            ),
        )
    mlp = config.feedforward_modules or [
        name for name in targets if name.rsplit(".", 1)[-1] in known
    ]
    if missing := [name for name in mlp if name not in targets]:
        raise ConfigError(
            text(
                f"feedforward_modules: {missing[0]} is not in target_modules",
                f"feedforward_modules：{missing[0]} 不在 target_modules 中",
            ),
            hint=text(
                "add it to target_modules, or take it out of feedforward_modules",
                "请加入 target_modules，或从 feedforward_modules 中去掉",
            ),
        )
    return IA3Config(**{**common, "target_modules": targets}, feedforward_modules=mlp)
