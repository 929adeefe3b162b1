"""What a training method gives the trainer: its options, and how rows become a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig


@dataclass(frozen=True)
class Method:
    """One training method.

    `encode(examples, tokenizer, config)` gives for each example its rows of tokens;
    `collate(rows, layout)` joins rows to a batch of tensors;
    `loss(model, batch)` gives the summed loss and the number of its terms.
    Heavy modules are imported inside the functions.
    """

    name: str
    config: type[TrainConfig]
    chats: bool
    """Whether rows are conversations, which need a chat template."""
    encode: Callable[..., list[list[Any]]]
    collate: Callable[[Sequence[Any], str], dict[str, Any]]
    loss: Callable[[Any, dict[str, Any]], tuple[Any, Any]]
