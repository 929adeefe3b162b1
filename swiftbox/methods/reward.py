"""Reward models trained on pairs (Bradley-Terry, arXiv:2203.02155). Shapes: B pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods.method import Method
from swiftbox.methods.pairs import METRICS, count, pairs_of, reward_metrics


class RewardConfig(TrainConfig):
    """Options of `stage: reward`."""

    sequences_per_row: ClassVar[int] = 2

    stage: Literal["reward"] = setting(
        "reward",
        label_zh="训练阶段",
        en="reward: train a model that scores answers, from pairs of answers",
        zh="reward：用回答对训练给回答打分的奖励模型",
        section="method",
        essential=True,
    )
    center_rewards_coefficient: float = setting(
        0.0,
        label_zh="分数居中权重",
        en="weight of a term that keeps the scores around zero (arXiv:2312.09244)",
        zh="使分数以零为中心的附加项权重（arXiv:2312.09244）",
        section="method",
        ge=0,
        limit=1000,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize both conversations of every example."""
    from swiftbox.core.data.encode import encode_pairs

    return list(encode_pairs(examples, tokenizer, config))


def collate(units: Sequence[Any], layout: str, padding: int | None = None) -> dict[str, Any]:
    """Collate pairs into a batch with the index of every sequence's last token."""
    import torch

    from swiftbox.core.losses.reward_head import last_token_batch

    pairs = [pair for unit in units for pair in unit]
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    batch = last_token_batch(rows, layout, padding)
    batch["margin"] = torch.tensor([pair.margin for pair in pairs])  # (B,)
    return batch


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the batch's pairs."""
    from swiftbox.core.losses.preferences import bradley_terry
    from swiftbox.core.losses.reward_head import rewards

    pairs, centering = pairs_of(batch), context.config.center_rewards_coefficient
    inputs = {key: value for key, value in batch.items() if key not in ("margin", "indices")}
    scores = rewards(model, inputs, batch["indices"])  # (2B,)
    chosen, rejected = scores[:pairs], scores[pairs:]
    losses = bradley_terry(chosen, rejected, batch["margin"])  # (B,)
    if centering:
        losses = losses + centering * (chosen + rejected) ** 2
    return LossTerms(losses.sum(), pairs, reward_metrics(chosen, rejected))


REWARD = Method(
    "reward",
    RewardConfig,
    True,
    encode,
    collate,
    loss,
    count,
    head="score",
    metrics=METRICS,
    learning_rates=(5.0e-5, 5.0e-6),
)
