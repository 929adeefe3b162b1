"""What people want of a training, in their words, and what is sensible to propose for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.language import text
from swiftbox.methods import METHODS

Values = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A goal, the stages that lead to it (the first is proposed), and values of its own."""

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
        "follow instructions: answer as in example conversations",
        "遵循指令：按示例对话回答",
        ("sft",),
    ),
    Goal(
        "style",
        "take on a style or a role, from tens to hundreds of examples",
        "学会一种风格或角色：几十到几百条示例",
        ("sft",),
        {"num_train_epochs": 3.0, "gradient_accumulation_steps": 4},
    ),
    Goal(
        "prefer",
        "prefer better answers: from pairs, or from answers marked good or bad",
        "偏好更好的回答：用回答对，或标注好坏的回答",
        ("dpo", "orpo", "simpo", "cpo", "kto"),
    ),
    Goal(
        "continue",
        "continue pretraining: take in raw text of a language or a field",
        "继续预训练：吸收某种语言或领域的纯文本",
        ("pt",),
    ),
    Goal(
        "reward",
        "make a reward model: score answers, from pairs",
        "训练奖励模型：用回答对学会给回答打分",
        ("reward",),
    ),
    Goal(
        "online",
        "learn from its own answers, judged by functions (needs the rl extra)",
        "从自己的回答中学习，由函数评分（需要 rl 扩展）",
        ("grpo",),
    ),
)

BATCHES: Mapping[str, Values] = {
    "kto": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
    "grpo": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
}
"""KTO compares within a batch, GRPO within a group of answers."""


def suggested(stage: str, values: Mapping[str, Any], name: str) -> Any:
    """Return what to propose for a field that was not answered yet; None: its own default."""
    if name == "learning_rate":
        tuner = str(values.get("tuner_type", "lora"))
        return METHODS[stage].learning_rate(tuner, parameters_of(str(values.get("model", ""))))
    return BATCHES.get(stage, {}).get(name)


BYTES_PER_PARAMETER = 2
"""Of published weights: bfloat16 nearly everywhere."""


def parameters_of(model: str) -> float | None:
    """Estimate the number of parameters from the size of the weights, or from the id's `7B`."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return size / BYTES_PER_PARAMETER if size else None
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])\b", Path(model).name, re.IGNORECASE)
    if not found:
        return None
    return float(found[1]) * (1e9 if found[2].upper() == "B" else 1e6)
