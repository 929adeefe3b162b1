"""Odds ratio preference optimization (arXiv:2403.07691): likelihood plus preference, no reference.

Shapes: B pairs. The likelihood covers the chosen answer, as in the paper's eq. 6; train_on_prompt
adds the prompt, as in TRL.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import SharingField
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


class OrpoConfig(SharingField, TrainConfig):
    """Options of `stage: orpo`."""

    sequences_per_row: ClassVar[int] = 2

    stage: Literal["orpo"] = setting(
        "orpo",
        label_zh="训练阶段",
        en="orpo: learn answers and preferences at once, without a reference",
        zh="orpo：同时学习回答与偏好，无需参考模型",
        section="method",
        essential=True,
    )
    beta: float = setting(
        0.1,
        label_zh="偏好损失权重",
        en="weight of the odds ratio term relative to the likelihood (lambda in the paper)",
        zh="胜率比损失相对似然损失的权重（论文中的 lambda）",
        section="method",
        essential=True,
        gt=0,
        le=100,
    )


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the batch's pairs."""
    from torch.nn.functional import logsigmoid

    from swiftbox.core.losses.preferences import log_odds_ratio
    from swiftbox.core.losses.scoring import scores

    beta, pairs = context.config.beta, pairs_of(batch)
    rest = {key: value for key, value in batch.items() if key != "margin"}
    policy = scores(model, rest, context.reader, sequences=2 * pairs)
    chosen, rejected = policy.means[:pairs], policy.means[pairs:]  # (B,)
    preference = -beta * logsigmoid(log_odds_ratio(chosen, rejected))  # (B,)
    total = likelihood_loss(policy, pairs) + preference.sum()
    return LossTerms(total, pairs, reward_metrics(beta * chosen, beta * rejected))


def couples_rows(config: Any) -> bool:  # noqa: ARG001 - its signature
    """Return True: the likelihood term is a mean over the tokens of a batch."""
    return True


ORPO = Method(
    "orpo",
    OrpoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    shares_prompts=True,
    couples_rows=couples_rows,
    metrics=METRICS,
    learning_rates=(5.0e-5, 8.0e-6),
)
