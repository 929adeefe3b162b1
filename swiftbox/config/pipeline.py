"""What a `task: pipeline` YAML says: steps, each with a name and the keys of its task."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializeAsAny

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.config.task import TaskConfig

FILE_KEYS = ("version", "output_dir")
"""Keys of a file that a step does not have: its folder is inside the pipeline's."""


class PipelineStep(Frozen):
    """One step: the name that later steps refer to, and its config."""

    name: str
    config: SerializeAsAny[TaskConfig]


class PipelineConfig(TaskConfig):
    """Fields of a pipeline."""

    task: Literal["pipeline"] = setting(
        "pipeline",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    steps: tuple[PipelineStep, ...] = setting(
        label_zh="步骤",
        en="blocks with name:, task: and the keys of that task; ${name.model} is the result of an "
        "earlier step",
        zh="若干块，各含 name:、task: 及该任务的键；${name.model} 表示前面步骤的结果",
        section="run",
        essential=True,
    )
