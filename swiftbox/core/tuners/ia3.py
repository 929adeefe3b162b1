"""(IA)3 (arXiv:2205.05638): keys, values and feed-forward inputs are scaled by learned vectors."""

from __future__ import annotations

from typing import Any

from peft import IA3Config
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as OF_MLP
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as OF_MODEL

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text

USUAL = ("k_proj", "v_proj", "down_proj")
"""The layers of the paper under the names that most models give them."""

FEEDFORWARD = ("down_proj", "fc2", "wo", "dense_4h_to_h", "c_proj", "w2")


def adapter_config(model: Any, config: TunerFields, common: dict[str, Any]) -> IA3Config:
    """Return peft's config; all-linear means the layers of the paper."""
    targets = common["target_modules"]
    family = model.config.model_type
    known = (*FEEDFORWARD, *OF_MLP.get(family, ()))
    if config.target_modules == "all-linear":
        last = {one: one.rsplit(".", 1)[-1] for one in targets}
        paper = USUAL if set(USUAL) <= set(last.values()) else OF_MODEL.get(family, ())
        targets = [one for one in targets if last[one] in paper]
    if not targets:
        raise ConfigError(
            text(
                f"target_modules: the keys and values of {family} are not known to ia3",
                f"target_modules：ia3 不认识 {family} 的 key 与 value 层",
            ),
            hint=text(
                "name the key, value and feed-forward layers, and feedforward_modules",
                "请写出 key、value 与前馈层的名称，以及 feedforward_modules",
            ),
        )
    mlp = config.feedforward_modules or [one for one in targets if one.rsplit(".", 1)[-1] in known]
    if missing := [one for one in mlp if one not in targets]:
        raise ConfigError(
            text(
                f"feedforward_modules: {missing[0]} is not in target_modules",
                f"feedforward_modules：{missing[0]} 不在 target_modules 中",
            )
        )
    return IA3Config(**{**common, "target_modules": targets}, feedforward_modules=mlp)
