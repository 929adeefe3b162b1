"""OFT (arXiv:2306.07280, 2506.19847): rotates weights with block-diagonal orthogonal matrices."""

from __future__ import annotations

import math
from typing import Any

from peft import OFTConfig

from swiftbox.config.tuners import TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import text


def adapter_config(model: Any, config: TunerFields, common: dict[str, Any]) -> OFTConfig:
    """Return peft's config; raise ConfigError if the block size does not divide a layer's width."""
    targets = set(common["target_modules"])
    widths = {
        module.in_features
        for name, module in model.named_modules()
        if hasattr(module, "in_features")
        and (name in targets or name.rsplit(".", 1)[-1] in targets)
    }
    size, largest = config.oft_block_size, math.gcd(*widths)
    if largest % size:
        raise ConfigError(
            text(
                f"oft_block_size: {size} does not divide the widths {sorted(widths)}",
                f"oft_block_size：{size} 不能整除各层宽度 {sorted(widths)}",
            ),
            hint=text(f"set a divisor of {largest}", f"请设为 {largest} 的约数"),
        )
    return OFTConfig(r=0, oft_block_size=size, **common)
