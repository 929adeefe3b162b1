"""Kahneman-Tversky optimization (arXiv:2402.01306): single answers, desirable or not.

Shapes: S answers of a batch. The reference point is the mean log-ratio of prompts with answers
of other prompts of the batch; it has no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from swiftbox.config.fields import setting
from swiftbox.config.preference import BetaField
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import Context, Terms
from swiftbox.methods.method import Method


class KtoConfig(BetaField, TrainConfig):
    """Options of `stage: kto`."""

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
        en="kto, or apo_zero_unpaired, which has no reference point and takes batches of one",
        zh="kto，或无参考点、批大小可为 1 的 apo_zero_unpaired",
        section="method",
    )
    desirable_weight: float = setting(
        1.0,
        label_zh="好回答权重",
        en="weight of good answers; with the weight of bad ones it evens out their numbers",
        zh="好回答的权重；与坏回答的权重一起平衡数量",
        section="method",
        gt=0,
    )
    undesirable_weight: float = setting(
        1.0,
        label_zh="坏回答权重",
        en="weight of bad answers",
        zh="坏回答的权重",
        section="method",
        gt=0,
    )


def encode(examples: Sequence[Any], tokenizer: Any, config: TrainConfig) -> list[Any]:  # noqa: ARG001
    """Tokenize conversations; what is said after the last user's turn is judged."""
    from swiftbox.core.data.encode import encode_judged

    return list(encode_judged(examples, tokenizer))


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Join answers to a batch, and prompts with the answer of the one before for the KL."""
    import torch

    from swiftbox.core.losses.kto_baseline import mismatched
    from swiftbox.core.losses.scoring import Strand, scored_batch

    judged = [one for unit in units for one in unit]
    rows = [one.row for one in judged]
    strands = [Strand((at,)) for at in range(len(rows))]
    batch = scored_batch(rows, strands, layout)
    batch["label"] = torch.tensor([one.label for one in judged])  # (S,)
    batch["mismatched"] = scored_batch(mismatched(rows), strands, layout)
    return batch


def count(batch: Mapping[str, Any]) -> int:
    """Count the answers of a batch."""
    return len(batch["label"])


def loss(model: Any, batch: dict[str, Any], context: Context) -> Terms:
    """Return the summed, weighted losses of the batch's answers."""
    import torch

    from swiftbox.core.losses.kto_baseline import divergence
    from swiftbox.core.losses.preferences import kto
    from swiftbox.core.losses.scoring import scores

    config, answers = context.config, count(batch)
    rest = {key: value for key, value in batch.items() if key not in ("label", "mismatched")}
    label = batch["label"]  # (S,)
    reference = context.reference.sums(model, batch, rest, context.readout, answers)  # (S,)
    point = torch.zeros((), device=label.device)
    if config.loss_type == "kto":
        point = divergence(model, batch["mismatched"], context, answers)  # ()
    ratios = scores(model, rest, context.readout, sequences=answers).sums - reference  # (S,)
    losses = kto(ratios, label, point, config.beta)  # (S,)
    weight = torch.where(label, config.desirable_weight, config.undesirable_weight)
    rewards = config.beta * ratios.detach()  # (S,)
    metrics = {
        "rewards/desirable": rewards[label].sum(),
        "rewards/desirable#": label.sum(),
        "rewards/undesirable": rewards[~label].sum(),
        "rewards/undesirable#": (~label).sum(),
        "kl": point * answers,
    }
    return Terms((weight * losses).sum(), answers, metrics)


KTO = Method(
    "kto",
    KtoConfig,
    True,
    encode,
    collate,
    loss,
    count,
    reference="by batch",
    rates=(1.0e-5, 1.0e-6),
)
