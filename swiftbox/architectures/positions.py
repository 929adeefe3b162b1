"""How many tokens a model with learned positions reads at most.

Rotary positions continue; a row beyond the last learned position ends a training in an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftbox.errors import ConfigError
from swiftbox.language import text

TABLE = re.compile(r"(?:^|\.)(?:position_embeddings|wpe|embed_positions)\.weight$")
"""The embedding of the positions."""

AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Values of model_type whose first position follows the number of the padding token."""


def learned_positions(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> int | None:
    """Return the number of learned positions; None for a model without a table of them.

    Args:
        config: The model's config.json.
        shapes: The shapes of its weights by name.
    """
    rows = [shape[0] for name, shape in shapes.items() if TABLE.search(name) and len(shape) == 2]
    if not rows:
        return None
    padding = config.get("pad_token_id", 1)
    is_shifted = config.get("model_type") in AFTER_PADDING and type(padding) is int
    return min(rows) - (padding + 1 if is_shifted else 0)


def require_positions(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], max_length: int
) -> None:
    """Raise ConfigError if rows of max_length tokens have more than the learned positions."""
    positions = learned_positions(config, shapes)
    if positions is None or max_length <= positions:
        return
    raise ConfigError(
        text(
            f"max_length: {max_length}, but the model has learned {positions} positions and reads "
            "no longer row",
            f"max_length 为 {max_length}，而模型只学过 {positions} 个位置，读不了更长的行",
        ),
        hint=text(f"set max_length: {positions}", f"设 max_length: {positions}"),
    )
