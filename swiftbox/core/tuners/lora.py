"""LoRA (arXiv:2106.09685) with DoRA, rsLoRA and initializations; also the adapter of QLoRA."""

from __future__ import annotations

from typing import Any

from peft import EvaConfig, LoraConfig, LoraGAConfig

from swiftbox.config.tuners import TunerFields
from swiftbox.core.tuners.targets import require_parameters


def adapter_config(model: Any, config: TunerFields, common: dict[str, Any]) -> LoraConfig:
    """Return peft's config of the adapter."""
    require_parameters(model, config.target_parameters)
    init = config.init_lora_weights
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        use_dora=config.use_dora,
        use_rslora=config.use_rslora,
        init_lora_weights=True if init == "true" else init,
        eva_config=EvaConfig() if init == "eva" else None,
        lora_ga_config=LoraGAConfig() if init == "lora_ga" else None,
        rank_pattern=config.rank_pattern,
        alpha_pattern=config.alpha_pattern,
        target_parameters=config.target_parameters or None,
        **common,
    )
