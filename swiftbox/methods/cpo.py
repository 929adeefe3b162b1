"""Contrastive preference optimization (arXiv:2401.08417): DPO without a reference. Shapes: B pairs.

The likelihood term is averaged over the tokens of the batch's chosen answers, as in TRL.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import BetaField, SharingField, SmoothingField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods.method import Method
from swiftbox.methods.pairs import (
    METRICS,
    collate,
    count,
    encode,
    likelihood_loss,
    pairs_of,
    reward_metrics,
)


class CpoConfig(SharingField, SmoothingField, BetaField, TrainConfig):
    """Options of `stage: cpo`."""

    sequences_per_row: ClassVar[int] = 2

    stage: Literal["cpo"] = setting(
        "cpo",
        label_zh="训练阶段",
        en="cpo: learn from pairs of answers, with a likelihood term, without a reference",
        zh="cpo：从回答对中学习并提高更好回答的似然，无需参考模型",
        section="method",
        essential=True,
    )
    loss_type: Literal["sigmoid", "hinge", "ipo"] = setting(
        "sigmoid",
        label_zh="损失类型",
        en="loss function of the difference between both answers",
        zh="对两个回答之差所用的损失函数",
        section="method",
    )
    cpo_alpha: float = setting(
        1.0,
        label_zh="似然项权重",
        en="weight of the likelihood term of the chosen answer",
        zh="被选回答似然项的权重",
        section="method",
        ge=0,
        limit=1000,
    )


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the batch's pairs."""
    from swiftbox.core.losses.preferences import DPO_LOSSES, LogRatios
    from swiftbox.core.losses.scoring import scores

    config, pairs = context.config, pairs_of(batch)
    rest = {key: value for key, value in batch.items() if key != "margin"}
    policy = scores(model, rest, context.reader, sequences=2 * pairs)
    both = LogRatios(
        policy.sums[:pairs], policy.sums[pairs:], policy.lengths[:pairs], policy.lengths[pairs:]
    )
    losses = DPO_LOSSES[config.loss_type](both, config.beta, config.label_smoothing)  # (B,)
    total = losses.sum()
    if config.cpo_alpha:
        total = total + config.cpo_alpha * likelihood_loss(policy, pairs)
    return LossTerms(
        total, pairs, reward_metrics(config.beta * both.chosen, config.beta * both.rejected)
    )


def couples_rows(config: Any) -> bool:
    """Return whether the loss has a likelihood term, a mean over the tokens of a batch."""
    return bool(config.cpo_alpha > 0)


CPO = Method(
    "cpo",
    CpoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    shares_prompts=True,
    couples_rows=couples_rows,
    metrics=METRICS,
    learning_rates=(1.0e-5, 1.0e-6),
)
