"""Reward models: scores from pairs (Bradley-Terry, arXiv:2203.02155). Shapes: B pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from swiftbox.config.fields import setting
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import Context, Terms
from swiftbox.methods.method import Method
from swiftbox.methods.pairs import count, watched


class RewardConfig(TrainConfig):
    """Options of `stage: reward`."""

    stage: Literal["reward"] = setting(
        "reward",
        label_zh="训练阶段",
        en="reward: train a model that scores answers, from pairs",
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
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:  # noqa: ARG001
    """Tokenize both conversations of every example."""
    from swiftbox.core.data.encode import encode_pairs

    return list(encode_pairs(examples, tokenizer))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Join pairs to a batch with the place of every sequence's last token."""
    import torch

    from swiftbox.core.losses.reward_head import ending_batch

    pairs = [pair for unit in units for pair in unit]
    rows = [one.chosen for one in pairs] + [one.rejected for one in pairs]
    batch = ending_batch(rows, layout)
    batch["margin"] = torch.tensor([one.margin for one in pairs])  # (B,)
    return batch


def loss(model: Any, batch: dict[str, Any], context: Context) -> Terms:
    """Return the summed losses of the batch's pairs."""
    from swiftbox.core.losses.preferences import bradley_terry
    from swiftbox.core.losses.reward_head import rewards

    pairs, centred = count(batch), context.config.center_rewards_coefficient
    inputs = {key: value for key, value in batch.items() if key not in ("margin", "places")}
    found = rewards(model, inputs, batch["places"])  # (2B,)
    chosen, rejected = found[:pairs], found[pairs:]
    losses = bradley_terry(chosen, rejected, batch["margin"])  # (B,)
    if centred:
        losses = losses + centred * (chosen + rejected) ** 2
    return Terms(losses.sum(), pairs, watched(chosen, rejected))


REWARD = Method(
    "reward", RewardConfig, True, encode, collate, loss, count, head="score", rates=(5.0e-5, 5.0e-6)
)
