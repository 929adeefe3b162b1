"""VeRA (arXiv:2310.11454): learned vectors scale random matrices that all layers share."""

from __future__ import annotations

from typing import Any

from peft import VeraConfig

from swiftbox.config.tuners import TunerFields


def adapter_config(_model: Any, config: TunerFields, common: dict[str, Any]) -> VeraConfig:
    """Return peft's config; the random matrices are saved, so reloading is exact."""
    return VeraConfig(
        r=config.vera_rank, vera_dropout=config.lora_dropout, save_projection=True, **common
    )
