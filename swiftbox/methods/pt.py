"""Continued pretraining: learns every token of raw text; long documents become several rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.likelihood import LabelSmoothingField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods.method import Method


class PtConfig(LabelSmoothingField, TrainConfig):
    """Options of `stage: pt`."""

    splits_long_rows: ClassVar[bool] = True
    can_pack: ClassVar[bool] = True

    stage: Literal["pt"] = setting(
        "pt",
        label_zh="训练阶段",
        en="pt: continued pretraining on raw text",
        zh="pt：在纯文本上继续预训练",
        section="method",
        essential=True,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize texts, each ended with the end-of-text token and split at max_length."""
    from swiftbox.core.data.encode import encode_texts

    return list(encode_texts([example.text for example in examples], tokenizer, config.max_length))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Collate rows into a batch with the learned tokens and the indices that predict them."""
    from swiftbox.core.data.batches import collate_rows
    from swiftbox.core.losses.cross_entropy import with_targets
    from swiftbox.core.losses.scoring import rows_batch

    samples = [sample for unit in units for sample in unit]
    return rows_batch(samples, layout) or with_targets(collate_rows(units, layout))


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed next-token cross-entropy and the number of tokens.

    Turns may have a weight: it multiplies the losses of their tokens, not their number.
    """
    from swiftbox.core.losses.cross_entropy import next_token_losses

    losses = next_token_losses(model, batch, context.reader, uniform=True)  # (M,)
    return LossTerms(losses.sum(), losses.numel())


def count(units: Sequence[Any]) -> int:
    """Count the learned tokens of units."""
    return sum(sample.trained for unit in units for sample in unit)


PT = Method("pt", PtConfig, False, encode, collate, loss, count, splits_texts=True)
