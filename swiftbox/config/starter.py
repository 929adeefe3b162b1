"""What a `task: starter` YAML says: the name of the small model, and the seed of its data."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.task import TaskConfig
from swiftbox.language import text

LONGEST_NAME = 40


class StarterConfig(TaskConfig):
    """Fields of a starter."""

    task: Literal["starter"] = setting(
        "starter",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    model_name: str = setting(
        "Swifty",
        label_zh="模型自称",
        en="name that the model calls itself; it learns it from the conversations",
        zh="模型的自称，从对话数据中学到",
        section="data",
        essential=True,
    )
    seed: int = setting(
        0,
        label_zh="随机种子",
        en="seed for the choice and order of the rows",
        zh="数据选取与排序的随机种子",
        section="data",
        ge=0,
        lt=2**32,
    )

    @field_validator("model_name")
    @classmethod
    def _learnable(cls, value: str) -> str:
        if problem := unlearnable(value):
            raise ValueError(problem)
        return value.strip()


def unlearnable(name: str) -> str:
    """Return why the model cannot learn a name; empty if it can."""
    trimmed = name.strip()
    wrong = not trimmed or len(trimmed) > LONGEST_NAME or not trimmed.isprintable()
    if not wrong and not any(mark in trimmed for mark in ("<|", "|>", "{", "}")):
        return ""
    return text(
        f"should be 1 to {LONGEST_NAME} printable characters, without <|, |> and braces",
        f"应为 1 到 {LONGEST_NAME} 个可见字符，不含 <| |> 与花括号",
    )
