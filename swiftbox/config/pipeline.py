"""What a `task: pipeline` YAML says: steps, each a block with a name and the keys of its task."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializeAsAny

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.config.task import TaskConfig

NOT_OF_A_STEP = ("version", "output_dir")
"""Keys of a file of its own that a step does not have: it lies in the pipeline's folder."""


class PipelineStep(Frozen):
    """One step: the name that later steps refer to it by, and what it does."""

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
