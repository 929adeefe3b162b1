"""What every YAML says, whatever its task: the format, the task, and where its run is recorded."""

from __future__ import annotations

from typing import Literal

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen


class TaskConfig(Frozen):
    """Fields of every task; each narrows `task` to its own name."""

    version: Literal[1] = setting(
        1,
        label_zh="格式版本",
        en="version of this file's format",
        zh="本文件格式的版本",
        section="task",
    )
    task: str = setting(
        ...,
        label_zh="任务",
        en="what this file asks for",
        zh="本文件要做什么",
        section="task",
    )
    output_dir: str = setting(
        "auto",
        label_zh="运行目录",
        en="run folder; auto names one under runs/",
        zh="运行目录；auto 在 runs/ 下自动命名",
        section="run",
        min_length=1,
    )
