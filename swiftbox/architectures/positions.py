"""How many tokens a model with learned positions reads at most.

Rotary positions continue; a row beyond the last learned position ends a training in an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swiftbox.errors import ConfigError
from swiftbox.language import text

TABLE = re.compile(r"(?:^|\.)(?:position_embeddings|wpe|embed_positions|positions_embed)\.weight$")
"""The embedding of the positions."""

OTHER_MODALITY = re.compile(r"(?:^|[._])(?:vision|visual|image|audio|speech|video)[._]")
"""A part of a model that does not read the tokens of a text."""

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


UNUSED_ROWS = {"bart": 2, "biogpt": 2, "mbart": 2, "mvp": 2, "opt": 2, "plbart": 2}
"""Rows of the table before that of the first position, by model_type."""


def learned_positions(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> int | None:
    """Return the number of learned positions; None for a model without a table of them.

    Args:
        config: The model's config.json.
        shapes: The shapes of its weights by name.
    """
    rows = [
        shape[0]
        for name, shape in shapes.items()
        if TABLE.search(name) and not OTHER_MODALITY.search(name) and len(shape) == 2
    ]
    if not rows:
        return None
    family, padding = config.get("model_type"), config.get("pad_token_id", 1)
    is_shifted = family in AFTER_PADDING and type(padding) is int
    return min(rows) - (padding + 1 if is_shifted else UNUSED_ROWS.get(str(family), 0))


def require_positions(
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    max_length: int,
    answer_length: int = 0,
) -> None:
    """Raise ConfigError if rows of max_length tokens have more than the learned positions.

    `answer_length` is the most tokens of an answer that is generated to the prompt of a row.
    """
    positions = learned_positions(config, shapes)
    if positions is None or max_length + answer_length <= positions:
        return
    keys = "max_length + max_completion_length" if answer_length else "max_length"
    length = max_length + answer_length
    fix = text(f"set max_length: {positions}", f"设 max_length: {positions}")
    if answer_length:
        fix = text(
            f"set both so that their sum is at most {positions}",
            f"请设置两者，使其和不超过 {positions}",
        )
    raise ConfigError(
        text(
            f"{keys}: {length}, but the model has learned {positions} positions and reads "
            "no longer row",
            f"{keys} 为 {length}，而模型只学过 {positions} 个位置，读不了更长的行",
        ),
        hint=fix,
    )
