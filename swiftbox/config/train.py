"""What a `task: train` YAML says at every stage; each method adds its options."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import (
    DataFields,
    ModelFields,
    RunFields,
    as_list,
)
from swiftbox.config.optimization import OptimizerFields
from swiftbox.config.task import TaskConfig
from swiftbox.config.tuners import TunerFields
from swiftbox.language import text

REPORTERS = ("tensorboard", "wandb", "swanlab", "none")


class TrainConfig(RunFields, OptimizerFields, DataFields, TunerFields, ModelFields, TaskConfig):
    """Fields of every training method."""

    task: Literal["train"] = setting(
        "train",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )

    @field_validator("report_to")
    @classmethod
    def _known_reporters(cls, value: str | list[str]) -> str | list[str]:
        for name in as_list(value):
            if name not in REPORTERS:
                known = ", ".join(REPORTERS)
                raise ValueError(text(f"should be one of {known}", f"应为其中之一：{known}"))
        return value
