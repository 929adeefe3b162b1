"""Distillation in ms-swift: `rlhf_type: gkd`, its teacher, and what has no counterpart here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.config.teacher import SPLIT_WEIGHTS
from swiftbox.converters.msswift_values import stage_of
from swiftbox.converters.rows import (
    ForeignConfig,
    KeyOutcome,
    Rows,
    adopted,
    no_effect,
    no_effect_rows,
    refused,
    refused_rows,
    renamed,
    unsupported,
    unsupported_rows,
)
from swiftbox.converters.trainer_keys import TRAINER
from swiftbox.language import text

GKD_DEFAULTS: Mapping[str, Any] = {
    "lmbda": 0.5,
    "beta": 0.5,
    "temperature": 0.9,
    "max_completion_length": 512,
}
TEACHERS = ("teacher_model", "teacher_model_server", "teacher")
"""Keys that name a teacher: the last is a group of Ray's configs."""


def distillation(foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate `rlhf_type: gkd`; refuse a student that is its own, moving teacher."""
    if any(map(foreign.has, TEACHERS)):
        return adopted(stage="gkd")
    return adopted(stage="gkd") + refused(
        text(
            "gkd without teacher_model: a student that is its own teacher is not supported here",
            "gkd 未给出 teacher_model：此处不支持以学生自身为教师",
        ),
        text("name the teacher: teacher_model=...", "请给出教师模型：teacher_model=..."),
        "teacher_model",
    )


def teacher(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the teacher of gkd; refuse it under grpo, where it gives a reward."""
    stage = stage_of(foreign)
    if stage == "grpo":
        return refused(
            text(
                "a teacher that gives the reward of grpo is not supported here",
                "此处不支持由教师给出 grpo 的奖励",
            ),
            text(
                f"stage=gkd teacher_model={value} lmbda=1 beta=1 lowers the reverse KL divergence "
                "on the student's answers directly",
                f"stage=gkd teacher_model={value} lmbda=1 beta=1 "
                "直接在学生的回答上降低反向 KL 散度",
            ),
            "stage",
            "teacher_model",
        )
    if stage != "gkd":
        return [no_effect(text("only gkd and grpo have a teacher", "只有 gkd 与 grpo 使用教师"))]
    if value == foreign.values.get("model"):
        return refused(
            text(
                "a teacher that is the model itself, with other prompts, is not supported here",
                "此处不支持以模型自身为教师（并给它单独的提示）",
            ),
            text("name another teacher: teacher_model=...", "请给出别的教师：teacher_model=..."),
            "teacher_model",
        )
    return adopted(teacher_model=value)


def served_teacher(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate Ray's group of processes that serve a teacher."""
    name = value.get("model") if isinstance(value, dict) else None
    if not isinstance(name, str):
        return [unsupported(text("names no model", "未给出模型"))]
    why = text(
        "loaded beside the student on each device, not served",
        "在每个设备上与学生一同加载，而不是单独部署",
    )
    return adopted(why, teacher_model=name)


def teacher_server(_value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Refuse a teacher that answers at an address, unless one is named that can be loaded."""
    return refused(
        text(
            "the distributions of a served teacher are not read here",
            "此处不读取已部署的教师的分布",
        ),
        text(
            "name a teacher that is loaded beside the student: teacher_model=...",
            "请给出与学生一同加载的教师：teacher_model=...",
        ),
        "teacher_model",
    )


def sequences(value: Any, _foreign: ForeignConfig) -> list[KeyOutcome]:
    """Say that recent versions of ms-swift read the key and do nothing with it."""
    if value in (False, "false"):
        return [no_effect(text("off, as in swiftbox", "原本关闭，此处亦无"))]
    why = text(
        "recent versions of ms-swift ignore it; set seq_kd=true to learn the teacher's answers",
        "新版 ms-swift 会忽略它；如需学习教师写的回答，请设 seq_kd=true",
    )
    return [unsupported(why)]


def strategy(value: Any, foreign: ForeignConfig) -> list[KeyOutcome]:
    """Translate the strategy of DeepSpeed, except those that a teacher excludes."""
    outcomes = list(TRAINER["deepspeed"](value, foreign))
    chosen = {outcome.ours.get("distributed") for outcome in outcomes}
    if stage_of(foreign) != "gkd" or chosen.isdisjoint(SPLIT_WEIGHTS):
        return outcomes
    why = text(
        "weights in parts beside a teacher have not been verified; set distributed=zero2 to "
        "share gradients and states",
        "切分权重与教师模型的组合未经验证；如需切分梯度与优化器状态，请设 distributed=zero2",
    )
    return [unsupported(why)]


DISTILLATION_ROWS: Rows = {
    **{key: renamed(key) for key in ("lmbda", "sft_alpha")},
    "seq_kd": sequences,
    "teacher_model": teacher,
    "teacher": served_teacher,
    "teacher_model_server": teacher_server,
    "teacher_model_revision": renamed("teacher_revision"),
    "deepspeed": strategy,
    **no_effect_rows(
        "the family is read from config.json", "模型家族取自 config.json", "teacher_model_type"
    ),
    **unsupported_rows(
        "the teacher is complete on every device",
        "教师完整地位于每个设备上",
        "teacher_deepspeed offload_teacher_model",
    ),
    **unsupported_rows(
        "the complete distributions are compared, not those of the likeliest tokens",
        "比较完整的分布，而不只是最可能的若干词元",
        "gkd_logits_topk",
    ),
    **refused_rows(
        "adapters of a teacher are not loaded here",
        "此处不加载教师的适配器",
        (
            "merge them first (`swiftbox new merge -o merge.yaml`), then teacher_model=...",
            "请先合并（`swiftbox new merge -o merge.yaml`），再给出 teacher_model=...",
        ),
        "teacher_adapters",
    ),
}
