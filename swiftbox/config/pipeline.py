"""What a `task: pipeline` YAML says: steps, each with a name and the keys of its task."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializeAsAny

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.config.task import TaskConfig

FILE_KEYS = ("version", "output_dir")
"""Keys of a file that a step does not have: its folder is inside the pipeline's."""


OnFailure = Literal["ask", "stop", "skip"]


class StepPolicy(Frozen):
    """Keys that a step has beside those of its task."""

    on_failure: OnFailure | None = setting(
        None,
        label_zh="失败时",
        en="if this step fails: ask, stop, or skip it; null: on_failure of the pipeline",
        zh="本步骤失败时：ask 询问，stop 停止，skip 跳过；null：按流水线的 on_failure",
        section="run",
    )
    skip: bool | None = setting(
        None,
        label_zh="跳过",
        en="true: leave this step out; false: run it even if it failed and was skipped before; "
        "null: a step that was skipped stays skipped until its settings change",
        zh="true：不执行本步骤；false：即使曾因失败而跳过也执行；null：已跳过的步骤在设置改变前保持跳过",
        section="run",
    )


STEP_KEYS = tuple(StepPolicy.model_fields)


class PipelineStep(StepPolicy):
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
    on_failure: OnFailure = setting(
        "ask",
        label_zh="失败时",
        en="if a step fails: ask (without a terminal: stop), stop, or skip it, and later steps use "
        "what there is (merged instead of quantized)",
        zh="步骤失败时：ask 询问（不在终端中则停止）；stop 停止；skip 跳过，后面的步骤使用已有结果"
        "（如以合并结果代替量化结果）",
        section="run",
    )

    def policy_of(self, step: StepPolicy) -> OnFailure:
        """Return what happens if a step fails."""
        return step.on_failure or self.on_failure
