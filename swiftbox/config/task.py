"""What the YAML of every task says: the format, the task, and the run folder."""

from __future__ import annotations

from typing import Literal

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen


class TaskConfig(Frozen):
    """Fields of every task; each narrows `task` to its own name."""

    version: Literal[1] = setting(
        1,
        label_zh="格式版本",
        en="format version of this file",
        zh="本文件的格式版本",
        section="task",
    )
    task: str = setting(
        ...,
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )
    output_dir: str = setting(
        "auto",
        label_zh="运行目录",
        en="run folder; auto: a new one under runs/",
        zh="运行目录；auto：在 runs/ 下新建",
        section="run",
        min_length=1,
    )
