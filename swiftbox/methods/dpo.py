"""Direct preference optimization (arXiv:2305.18290) and its variants. Shapes: B pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import as_list
from swiftbox.config.preference import BetaField, ReferenceField, SharingField, SmoothingField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.formatting import counted
from swiftbox.language import text
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

Loss = Literal[
    "sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down", "sppo", "exo_pair", "sft"
]

SMOOTHED = ("robust", "exo_pair")
"""Losses that need a label_smoothing above 0."""


class DpoConfig(SharingField, ReferenceField, SmoothingField, BetaField, TrainConfig):
    """Options of `stage: dpo`."""

    sequences_per_row: ClassVar[int] = 2
    has_reference: ClassVar[bool] = True

    stage: Literal["dpo"] = setting(
        "dpo",
        label_zh="训练阶段",
        en="dpo: learn preferences from pairs of a better and a worse answer",
        zh="dpo：从“更好/更差”的回答对中学习偏好",
        section="method",
        essential=True,
    )
    loss_type: Loss | list[Loss] = setting(
        "sigmoid",
        label_zh="损失类型",
        en="loss function; sigmoid is the original DPO; a list sums several, see loss_weights",
        zh="损失类型：sigmoid 为 DPO 原始损失；列表表示多个损失相加，见 loss_weights",
        section="method",
    )
    loss_weights: list[float] = setting(
        [],
        label_zh="损失权重",
        en="weights of the losses in loss_type; empty: all 1",
        zh="loss_type 中各损失的权重；留空均为 1",
        section="method",
    )
    rpo_alpha: float = setting(
        0.0,
        label_zh="似然项权重",
        en="weight of an additional likelihood term of the chosen answer (RPO)",
        zh="在偏好损失之外加上被选回答似然项的权重（RPO）",
        section="method",
        ge=0,
        limit=1000,
    )
    reference_free: bool = setting(
        False,
        label_zh="不用参考模型",
        en="use no reference policy; equivalent to a uniform one",
        zh="不使用参考模型（等价于均匀分布）",
        section="method",
    )

    @field_validator("loss_type")
    @classmethod
    def _some_losses(cls, value: Any) -> Any:
        if value == []:
            raise ValueError(text("should name at least one loss", "至少写一个损失"))
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        losses = as_list(self.loss_type)
        if self.loss_weights and len(self.loss_weights) != len(losses):
            raise ValueError(
                text(
                    f"loss_weights: {counted(len(self.loss_weights), 'weight')} for "
                    f"{counted(len(losses), 'loss type')}",
                    f"loss_weights：{len(losses)} 个损失给了 {len(self.loss_weights)} 个权重",
                )
            )
        for loss in losses:
            if loss in SMOOTHED and self.label_smoothing == 0:
                raise ValueError(
                    text(
                        f"loss_type: {loss} needs label_smoothing above 0, such as 0.1",
                        f"loss_type：{loss} 需要 label_smoothing 大于 0，例如 0.1",
                    )
                )
        return self


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the summed losses of the batch's pairs."""
    from swiftbox.core.losses.preferences import DPO_LOSSES, LogRatios
    from swiftbox.core.losses.scoring import scores

    config, pairs = context.config, pairs_of(batch)
    rest = {key: value for key, value in batch.items() if key not in ("margin", "reference")}
    reference = 0.0
    if not config.reference_free:
        reference = context.reference.sums(model, batch, rest, context.reader, 2 * pairs)  # (2B,)
    policy = scores(model, rest, context.reader, sequences=2 * pairs)
    ratios = policy.sums - reference  # (2B,)
    both = LogRatios(ratios[:pairs], ratios[pairs:], policy.lengths[:pairs], policy.lengths[pairs:])
    total = 0.0
    for name, weight in weighted_losses(config):
        if name == "sft":
            total = total + weight * likelihood_loss(policy, pairs)
        else:
            losses = DPO_LOSSES[name](both, config.beta, config.label_smoothing)  # (B,)
            total = total + weight * losses.sum()
    metrics = reward_metrics(config.beta * both.chosen, config.beta * both.rejected)
    return LossTerms(total, pairs, metrics)


def weighted_losses(config: Any) -> Sequence[tuple[str, float]]:
    """Return the names and weights of a config's losses."""
    losses = as_list(config.loss_type)
    weights = config.loss_weights or [1.0] * len(losses)
    likelihood = [("sft", config.rpo_alpha)] if config.rpo_alpha else []
    return [*zip(losses, weights, strict=True), *likelihood]


def couples_rows(config: Any) -> bool:
    """Return whether the loss has a likelihood term, a mean over the tokens of a batch."""
    return any(name == "sft" for name, _ in weighted_losses(config))


DPO = Method(
    "dpo",
    DpoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    shares_prompts=True,
    reference="fixed",
    couples_rows=couples_rows,
    metrics=METRICS,
    learning_rates=(1.0e-5, 1.0e-6),
)
