"""Simple preference optimization (arXiv:2405.14734): mean log-probabilities and a margin.

Shapes: B pairs.
"""

from __future__ import annotations

from typing import Any, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import SharingField, SmoothingField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import Context, Terms
from swiftbox.methods.method import Method
from swiftbox.methods.pairs import collate, count, encode, likelihood_loss, watched


class SimpoConfig(SharingField, SmoothingField, TrainConfig):
    """Options of `stage: simpo`."""

    stage: Literal["simpo"] = setting(
        "simpo",
        label_zh="训练阶段",
        en="simpo: learn from pairs by length-normalised likelihood, without a reference",
        zh="simpo：用按长度归一的似然从回答对中学习，无需参考模型",
        section="method",
        essential=True,
    )
    beta: float = setting(
        2.0,
        label_zh="差值缩放",
        en="scale of the difference of both answers; the paper takes 2 to 10",
        zh="两个回答之差的缩放；论文取 2 到 10",
        section="method",
        essential=True,
        gt=0,
        le=100,
    )
    simpo_gamma: float = setting(
        1.0,
        label_zh="目标间隔",
        en="margin by which the better answer should lead; the paper takes half of beta",
        zh="更好回答应领先的幅度；论文取 beta 的一半",
        section="method",
        ge=0,
    )
    cpo_alpha: float = setting(
        0.0,
        label_zh="似然项权重",
        en="weight of the likelihood of the chosen answer (CPO-SimPO); 0 is SimPO itself",
        zh="被选回答似然项的权重（CPO-SimPO）；0 即 SimPO",
        section="method",
        ge=0,
    )


def loss(model: Any, batch: dict[str, Any], context: Context) -> Terms:
    """Return the summed losses of the batch's pairs."""
    from torch.nn.functional import logsigmoid

    from swiftbox.core.losses.scoring import scores

    config, pairs = context.config, count(batch)
    rest = {key: value for key, value in batch.items() if key != "margin"}
    policy = scores(model, rest, context.readout, sequences=2 * pairs)
    chosen, rejected = policy.means[:pairs], policy.means[pairs:]  # (B,)
    logits = config.beta * (chosen - rejected) - config.simpo_gamma  # (B,)
    smoothing = config.label_smoothing
    losses = -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)
    total = losses.sum()
    if config.cpo_alpha:
        total = total + config.cpo_alpha * likelihood_loss(policy, pairs)
    return Terms(total, pairs, watched(config.beta * chosen, config.beta * rejected))


SIMPO = Method(
    "simpo", SimpoConfig, True, encode, collate, loss, count, shares=True, rates=(1.0e-5, 8.0e-7)
)
