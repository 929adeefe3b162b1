"""The goals of a training in everyday language, and the proposed values for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.language import text
from swiftbox.methods import METHODS

Values = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A goal, the stages that lead to it (the first is proposed), and the values it sets."""

    name: str
    en: str
    zh: str
    stages: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the goal in the current language."""
        return text(self.en, self.zh)


GOALS = (
    Goal(
        "follow",
        "follow instructions: answer as example conversations do",
        "遵循指令：按示例对话回答",
        ("sft",),
    ),
    Goal(
        "style",
        "adopt a style or a role, from tens to hundreds of examples",
        "学会一种风格或角色：几十到几百条示例",
        ("sft",),
        {"num_train_epochs": 3.0, "gradient_accumulation_steps": 4},
    ),
    Goal(
        "prefer",
        "prefer better answers: from pairs, or from answers rated good or bad",
        "偏好对齐：用回答对，或标注好坏的回答",
        ("dpo", "orpo", "simpo", "cpo", "kto"),
    ),
    Goal(
        "continue",
        "continue pretraining on plain text of a language or a domain",
        "继续预训练：学习某种语言或领域的纯文本",
        ("pt",),
    ),
    Goal(
        "distill",
        "distill: learn the distributions of a larger teacher model",
        "知识蒸馏：学习更大的教师模型的输出分布",
        ("gkd",),
    ),
    Goal(
        "reward",
        "train a reward model that scores answers, from pairs",
        "训练奖励模型：从回答对学习打分",
        ("reward",),
    ),
    Goal(
        "classify",
        "classify texts: predict labels or a number",
        "文本分类：预测标签或数值",
        ("classification",),
    ),
    Goal(
        "online",
        "reinforcement learning: its own answers, scored by functions (needs the rl extra)",
        "强化学习：由函数为模型自己的回答评分（需要 rl 扩展）",
        ("grpo",),
    ),
)


def suggestion(stage: str, values: Mapping[str, Any], field_name: str) -> Any:
    """Return the value to propose for an unanswered field; None for the field's default."""
    if field_name != "learning_rate":
        return None
    tuner = str(values.get("tuner_type", "lora"))
    return METHODS[stage].learning_rate(tuner, parameter_count(str(values.get("model", ""))))


BYTES_PER_PARAMETER = 2
"""Published weights are bfloat16 nearly everywhere."""


def parameter_count(model: str) -> float | None:
    """Estimate the number of parameters from the size of the weights, or from the id's `7B`."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return weights_bytes / BYTES_PER_PARAMETER if weights_bytes else None
    from swiftbox.fit.profile import size_in_name

    return size_in_name(model)
