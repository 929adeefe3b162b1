"""Kahneman-Tversky optimization (arXiv:2402.01306) from single answers, desirable or not.

Shapes: S answers of a batch. The reference point is the mean log-ratio of prompts paired with the
answers of other prompts of the batch; it has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import BetaField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.methods.method import Method


class KtoConfig(BetaField, TrainConfig):
    """Options of `stage: kto`."""

    has_reference: ClassVar[bool] = True

    stage: Literal["kto"] = setting(
        "kto",
        label_zh="训练阶段",
        en="kto: learn from single answers marked as good or bad",
        zh="kto：从标注为好或坏的单个回答中学习",
        section="method",
        essential=True,
    )
    loss_type: Literal["kto", "apo_zero_unpaired"] = setting(
        "kto",
        label_zh="损失类型",
        en="kto, or apo_zero_unpaired, which has no reference point and allows a batch size of 1",
        zh="kto，或无参考点、批大小可为 1 的 apo_zero_unpaired",
        section="method",
    )
    desirable_weight: float = setting(
        1.0,
        label_zh="好回答权重",
        en="weight of good answers; raise it if there are fewer good answers than bad ones",
        zh="好回答的权重；好回答较少时可调高",
        section="method",
        gt=0,
        limit=1000,
    )
    undesirable_weight: float = setting(
        1.0,
        label_zh="坏回答权重",
        en="weight of bad answers; raise it if there are fewer bad answers than good ones",
        zh="坏回答的权重；坏回答较少时可调高",
        section="method",
        gt=0,
        limit=1000,
    )

    @property
    def smallest_micro_batch(self) -> int:
        """Return 2 if a prompt is compared with the other answers of its batch."""
        return 2 if self.loss_type == "kto" else 1

    @property
    def usual_micro_batch(self) -> int | None:
        """Return 4 if the reference point is the mean of a batch: enough answers for a mean."""
        return 4 if self.loss_type == "kto" else None

    def require_valid_batch_size(self) -> None:
        """Raise ConfigError for batches without other answers to compare a prompt with."""
        batch_size = self.micro_batch
        if batch_size < self.smallest_micro_batch:
            raise _batch_too_small(batch_size)


def _batch_too_small(batch_size: int) -> ConfigError:
    return ConfigError(
        text(
            "per_device_train_batch_size: KTO compares each prompt with other answers of the "
            f"batch (got {batch_size})",
            f"per_device_train_batch_size：KTO 需要与同批其他回答作比较（当前为 {batch_size}）",
        ),
        hint=text(
            "set it to 2 or more, or loss_type: apo_zero_unpaired",
            "设为 2 或更大，或设 loss_type: apo_zero_unpaired",
        ),
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:
    """Tokenize conversations; the label applies to the answer after the last user turn."""
    from swiftbox.core.data.encode import encode_labeled_answers

    return list(encode_labeled_answers(examples, tokenizer, config))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Collate answers, and for the KL estimate prompts with the answers of other prompts."""
    import torch

    from swiftbox.core.losses.kto_baseline import mismatched_rows
    from swiftbox.core.losses.scoring import PrefixGroup, scored_batch

    answers = [answer for unit in units for answer in unit]
    rows = [answer.row for answer in answers]
    groups = [PrefixGroup((number,)) for number in range(len(rows))]
    batch = scored_batch(rows, groups, layout)
    batch["label"] = torch.tensor([answer.label for answer in answers])  # (S,)
    batch["mismatched"] = scored_batch(mismatched_rows(rows), groups, layout)
    return batch


def count(units: Sequence[Any]) -> int:
    """Count the answers of units."""
    return sum(map(len, units))


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the weighted sum of the losses of the batch's answers."""
    import torch

    from swiftbox.core.losses.kto_baseline import kl_estimate
    from swiftbox.core.losses.preferences import kto
    from swiftbox.core.losses.scoring import scores

    config, answers = context.config, len(batch["label"])
    rest = {key: value for key, value in batch.items() if key not in ("label", "mismatched")}
    label = batch["label"]  # (S,)
    reference = context.reference.sums(model, batch, rest, context.reader, answers)  # (S,)
    reference_point = torch.zeros((), device=label.device)
    if config.loss_type == "kto":
        reference_point = kl_estimate(model, batch["mismatched"], context, answers)  # ()
    ratios = scores(model, rest, context.reader, sequences=answers).sums - reference  # (S,)
    losses = kto(ratios, label, reference_point, config.beta)  # (S,)
    # masked_fill takes numbers as they are; where would copy them to the device, which waits.
    weight = torch.full_like(losses, config.undesirable_weight)
    weight = weight.masked_fill(label, config.desirable_weight)  # (S,)
    rewards = config.beta * ratios.detach()  # (S,)
    metrics = {
        "rewards/desirable": rewards.masked_fill(~label, 0.0).sum(),
        "rewards/desirable#": label.sum(),
        "rewards/undesirable": rewards.masked_fill(label, 0.0).sum(),
        "rewards/undesirable#": (~label).sum(),
        "kl": reference_point * answers,
    }
    return LossTerms((weight * losses).sum(), answers, metrics)


def couples_rows(config: Any) -> bool:
    """Return whether the loss has a reference point, which is a mean over a batch."""
    return bool(config.loss_type == "kto")


KTO = Method(
    "kto",
    KtoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    reference="by batch",
    couples_rows=couples_rows,
    metrics=("rewards/desirable", "rewards/undesirable", "kl"),
    learning_rates=(1.0e-5, 1.0e-6),
)
