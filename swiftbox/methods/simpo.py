"""Simple preference optimization (arXiv:2405.14734): length-normalized, with a target margin.

Shapes: B pairs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import SharingField, SmoothingField
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


class SimpoConfig(SharingField, SmoothingField, TrainConfig):
    """Options of `stage: simpo`."""

    sequences_per_row: ClassVar[int] = 2

    stage: Literal["simpo"] = setting(
        "simpo",
        label_zh="训练阶段",
        en="simpo: learn from pairs by length-normalized likelihood, without a reference",
        zh="simpo：用按长度归一的似然从回答对中学习，无需参考模型",
        section="method",
        essential=True,
    )
    beta: float = setting(
        2.0,
        label_zh="差值缩放",
        en="scale of the difference between both answers; the paper uses 2 to 10",
        zh="两个回答之差的缩放；论文取 2 到 10",
        section="method",
        essential=True,
        gt=0,
        le=100,
    )
    simpo_gamma: float = setting(
        1.0,
        label_zh="目标间隔",
        en="target margin between the answers; the paper uses about half of beta",
        zh="两个回答的目标间隔；论文约取 beta 的一半",
        section="method",
        ge=0,
        limit=1000,
    )
    cpo_alpha: float = setting(
        0.0,
        label_zh="似然项权重",
        en="weight of the likelihood term of the chosen answer (CPO-SimPO); 0: plain SimPO",
        zh="被选回答似然项的权重（CPO-SimPO）；0 即 SimPO",
        section="method",
        ge=0,
        limit=1000,
    )


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the batch's pairs."""
    from torch.nn.functional import logsigmoid

    from swiftbox.core.losses.scoring import scores

    config, pairs = context.config, pairs_of(batch)
    rest = {key: value for key, value in batch.items() if key != "margin"}
    policy = scores(model, rest, context.reader, sequences=2 * pairs)
    chosen, rejected = policy.means[:pairs], policy.means[pairs:]  # (B,)
    logits = config.beta * (chosen - rejected) - config.simpo_gamma  # (B,)
    smoothing = config.label_smoothing
    losses = -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)
    total = losses.sum()
    if config.cpo_alpha:
        total = total + config.cpo_alpha * likelihood_loss(policy, pairs)
    return LossTerms(total, pairs, reward_metrics(config.beta * chosen, config.beta * rejected))


def couples_rows(config: Any) -> bool:
    """Return whether the loss has a likelihood term, a mean over the tokens of a batch."""
    return bool(config.cpo_alpha > 0)


SIMPO = Method(
    "simpo",
    SimpoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    shares_prompts=True,
    couples_rows=couples_rows,
    metrics=METRICS,
    learning_rates=(1.0e-5, 8.0e-7),
)
