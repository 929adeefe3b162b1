"""plan(config, machine) -> Plan: the complete config, the reasons and the command; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.runs.command import worker_command
from swiftbox.tasks import TASKS
from swiftbox.tasks.sending import needed_secrets
from swiftbox.tasks.task import Reason

if TYPE_CHECKING:  # a check starts no child
    from swiftbox.fit.workload import Workload
    from swiftbox.runs.supervise import Child

FOLDER = "{folder}"
"""Stands for the run folder in the command; the folder is named when the run is recorded."""


@dataclass(frozen=True)
class Plan:
    """A settled config, the reasons for its values, and the command and environment that run it."""

    config: TaskConfig
    command: tuple[str, ...]
    env: Mapping[str, str]
    notes: tuple[Reason, ...]
    processes: int

    def child(self, folder: Path) -> Child:
        """Return the child process that runs the plan in a run folder."""
        from swiftbox.runs.child import child_of

        return child_of(folder, self.processes, self.env, needed_secrets(self.config))


def plan(config: TaskConfig, machine: Machine, workload: Workload | None = None) -> Plan:
    """Settle a config for a machine; raise MachineError if it cannot run there.

    Without a workload, what depends on the model and the rows gets the values that are safest.
    """
    task = TASKS[config.task]
    if workload is None or task.resolve_workload is None:
        resolved = task.resolve(config, machine)
    else:
        resolved = task.resolve_workload(config, machine, workload)
    command = tuple(worker_command(FOLDER, resolved.processes))
    return Plan(resolved.config, command, resolved.env, resolved.reasons, resolved.processes)
