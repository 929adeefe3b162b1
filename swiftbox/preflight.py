"""What can be wrong with the files a YAML names, looked at before any process starts."""

from __future__ import annotations

from swiftbox.config.task import TaskConfig
from swiftbox.data.check import Checked
from swiftbox.tasks import TASKS
from swiftbox.tasks.checks import OnRemark, ignored


def preflight(config: TaskConfig, on_remark: OnRemark = ignored) -> Checked | None:
    """Check what is on this machine of what a config names; raise all problems as one error.

    What is worth saying but keeps nothing from running goes to `on_remark`. Returns what the check
    of a training's rows found; None without any, or while no dataset is on this machine.
    """
    return TASKS[config.task].check(config, on_remark)


def with_absolute_paths(config: TaskConfig) -> TaskConfig:
    """Return the config with every path that exists on this machine made absolute."""
    placed: TaskConfig = TASKS[config.task].placed(config)
    return placed
