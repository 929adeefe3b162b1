"""Continued pretraining: every token of raw text is learned; long documents become several rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from swiftbox.config.fields import setting
from swiftbox.config.train import TrainConfig
from swiftbox.methods.method import Method


class PtConfig(TrainConfig):
    """Options of `stage: pt`."""

    stage: Literal["pt"] = setting(
        "pt",
        en="pt: continued pretraining on raw text",
        zh="pt：在纯文本上继续预训练",
        section="method",
        essential=True,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[list[Any]]:
    """Tokenize texts, each ended with the end-of-text token and split at max_length."""
    from swiftbox.core.encoding import encode_texts

    return encode_texts([one.text for one in examples], tokenizer, config.max_length)


def collate(rows: Sequence[Any], layout: str) -> dict[str, Any]:
    """Join rows to a batch."""
    from swiftbox.core.batches import collate_rows

    return collate_rows(rows, layout)


def loss(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    """Return the summed cross-entropy of the next token, and the number of tokens."""
    from swiftbox.core.losses import next_token_loss

    return next_token_loss(model, batch)


PT = Method("pt", PtConfig, False, encode, collate, loss)
