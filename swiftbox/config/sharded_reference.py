"""Whether a training whose weights are sharded can have its reference policy.

A new adapter is disabled for it. Otherwise the starting weights are copied, which is not possible
where each process holds a part of them, unless the reference is computed before the training.
"""

from __future__ import annotations

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import CHANGED_BASE, FULL_TUNERS
from swiftbox.errors import ConfigError
from swiftbox.language import text


def require_reference(config: TrainConfig) -> None:
    """Raise ConfigError if sharded weights would have to be copied for the reference policy."""
    is_sharded = config.distributed not in ("auto", "none", "ddp")
    precomputes = getattr(config, "precompute_ref_log_probs", "false") != "false"
    if config.compares_with_reference and is_sharded and not precomputes and _copies_start(config):
        raise sharded_start(config.distributed)


def _copies_start(config: TrainConfig) -> bool:
    is_new = config.tuner_type not in FULL_TUNERS and config.adapter is None
    return not is_new or config.init_lora_weights.startswith(CHANGED_BASE)


def sharded_start(distributed: str) -> ConfigError:
    """Return the error for a reference policy whose weights are sharded."""
    return ConfigError(
        text(
            f"distributed: {distributed} shards the weights, so those of the start "
            "cannot be restored for the reference policy",
            f"distributed: {distributed} 会切分权重，无法还原起始权重作为参考模型",
        ),
        hint=text(
            "start from a new LoRA adapter (merge the old one first), or set distributed: ddp",
            "从新的 LoRA 适配器开始（先合并旧的），或设 distributed: ddp",
        ),
    )
