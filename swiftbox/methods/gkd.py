"""Generalized knowledge distillation (arXiv:2306.13649): the student learns a teacher's
distributions. Shapes: M learned tokens.

An update learns the answers of the data, or answers that the student (or the teacher) writes to the
same prompts. On each learned token the divergence of both models' distributions is lowered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import require_revision
from swiftbox.config.train import TrainConfig
from swiftbox.core.losses.terms import LossContext, LossTerms
from swiftbox.methods import pt
from swiftbox.methods.method import Method
from swiftbox.methods.sft import encode

BY_STUDENT = "by_student"
"""The key of a batch that says whether the student wrote its answers."""


class GkdConfig(TrainConfig):
    """Options of `stage: gkd`."""

    can_pack: ClassVar[bool] = True
    has_teacher: ClassVar[bool] = True

    stage: Literal["gkd"] = setting(
        "gkd",
        label_zh="训练阶段",
        en="gkd: learn the distributions of a teacher model",
        zh="gkd：学习教师模型的输出分布（知识蒸馏）",
        section="method",
        essential=True,
    )
    teacher_model: str = setting(
        label_zh="教师模型",
        en="teacher: a folder, or an id on the hub; its tokenizer must have the student's tokens",
        zh="教师模型：目录或社区模型 id；其分词器须包含学生模型的全部词元",
        section="method",
        essential=True,
        min_length=1,
    )
    teacher_revision: str | None = setting(
        None,
        label_zh="教师模型版本",
        en="branch, tag or commit of the teacher on the hub",
        zh="教师模型在社区上的分支、标签或提交号",
        section="method",
    )
    lmbda: float = setting(
        0.5,
        label_zh="在线比例",
        en="share of updates that learn from answers which the student writes; 0: those of the "
        "data only",
        zh="用学生自己所写回答进行的更新所占比例；0 表示只用数据中的回答",
        section="method",
        essential=True,
        ge=0,
        le=1,
    )
    beta: float = setting(
        0.5,
        label_zh="散度类型",
        en="divergence: 0 is the forward KL (cover all that the teacher says), 1 the reverse KL "
        "(say only what it says), between is the Jensen-Shannon divergence",
        zh="散度：0 为前向 KL（覆盖教师的全部说法），1 为反向 KL（只说教师会说的），"
        "其间为 Jensen-Shannon 散度",
        section="method",
        essential=True,
        ge=0,
        le=1,
    )
    temperature: float = setting(
        1.0,
        label_zh="温度",
        en="divides the logits of both models in the divergence and of generated answers",
        zh="在散度与生成回答时，两个模型的 logits 都除以此值",
        section="method",
        gt=0,
        le=10,
    )
    max_completion_length: int = setting(
        512,
        label_zh="最大回答长度",
        en="maximum length of a generated answer in tokens",
        zh="生成的回答的最大 token 数",
        section="method",
        ge=1,
        limit=10_000_000,
    )
    seq_kd: bool = setting(
        False,
        label_zh="学习教师的回答",
        en="the other updates learn from answers which the teacher writes, not those of the data",
        zh="其余更新使用教师模型所写的回答，而不是数据中的回答",
        section="method",
    )
    sft_alpha: float = setting(
        0.0,
        label_zh="交叉熵权重",
        en="weight of an additional cross-entropy, except on answers which the student writes",
        zh="附加交叉熵损失的权重；不作用于学生自己所写的回答",
        section="method",
        ge=0,
        limit=1000,
    )

    @field_validator("teacher_revision")
    @classmethod
    def _is_teacher_revision(cls, value: str | None) -> str | None:
        return require_revision(value)

    @property
    def samples_answers(self) -> bool:
        """Return whether some updates learn from generated answers."""
        return self.lmbda > 0 or self.seq_kd


def collate(units: Sequence[Any], layout: str) -> dict[str, Any]:
    """Collate rows of the data or generated answers; say whether the student wrote them."""
    from swiftbox.core.data.samples import GeneratedAnswer

    samples = [sample for unit in units for sample in unit]
    written = [sample for sample in samples if isinstance(sample, GeneratedAnswer)]
    rows = [[sample.row for sample in unit] for unit in units] if written else units
    return pt.collate(rows, layout) | {BY_STUDENT: any(sample.by_student for sample in written)}


def loss(model: Any, batch: dict[str, Any], context: LossContext) -> LossTerms:
    """Return the divergence summed over the learned tokens, which turns may weight."""
    from swiftbox.core.losses.cross_entropy import NOT_INPUTS
    from swiftbox.core.losses.divergence import DivergenceSettings, divergence_sum

    config, indices, weights = context.config, batch["indices"], batch.get("weights")  # (M,), (M,)
    inputs = {key: value for key, value in batch.items() if key not in (*NOT_INPUTS, BY_STUDENT)}
    teacher = context.teacher.head_inputs(inputs, indices)
    student = context.reader.head_inputs(model, inputs, indices)
    settings = DivergenceSettings(config.beta, config.temperature)
    total = divergence_sum(student, teacher, settings, weights)
    if config.sft_alpha and not batch[BY_STUDENT]:
        uniform = weights is None
        losses = -context.reader.log_probs_of(student, batch["targets"], uniform=uniform)  # (M,)
        total = total + config.sft_alpha * (losses if uniform else losses * weights).sum()
    return LossTerms(total, indices.numel())


GKD = Method("gkd", GkdConfig, True, encode, collate, loss, pt.count)
