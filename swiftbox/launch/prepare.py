"""What can be wrong with the files a YAML names, looked at before any process starts."""

from __future__ import annotations

from swiftbox.config.task import TaskConfig
from swiftbox.tasks import TASKS
from swiftbox.tasks.checks import OnRemark, ignored
from swiftbox.tasks.task import Looked


def preflight(config: TaskConfig, on_remark: OnRemark = ignored) -> Looked:
    """Check what is on this machine of what a config names; raise all problems as one error.

    What is worth saying but keeps nothing from running goes to `on_remark`. Returns what the check
    of a training's rows found (of a pipeline, by step); None without any, or while no dataset is
    on this machine.
    """
    return TASKS[config.task].check(config, on_remark)


def with_absolute_paths(config: TaskConfig) -> TaskConfig:
    """Return the config with every path that exists on this machine made absolute."""
    placed: TaskConfig = TASKS[config.task].placed(config)
    return placed
