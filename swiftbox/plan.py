"""plan(config, machine): what will run, why each choice was made, and the command; pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.task import TaskConfig
from swiftbox.devices.machine import Machine
from swiftbox.tasks import TASKS
from swiftbox.tasks.task import Reason

FOLDER = "{folder}"
"""Stands in the command for the run folder, which is named only when the run starts."""


@dataclass(frozen=True)
class Plan:
    """A settled config, the command that carries it out, its environment, and the reasons."""

    config: TaskConfig
    command: tuple[str, ...]
    env: Mapping[str, str]
    notes: tuple[Reason, ...]
    processes: int
    remarks: tuple[str, ...] = ()
    """What a look at the files it names found worth saying; empty until they were looked at."""

    def command_for(self, folder: Path) -> list[str]:
        """Return the command with the run folder filled in."""
        return [part.replace(FOLDER, str(folder)) for part in self.command]


def plan(config: TaskConfig, machine: Machine) -> Plan:
    """Settle a config for a machine; raise MachineError when it cannot run there."""
    resolved = TASKS[config.task].resolve(config, machine)
    worker = ("-m", "swiftbox.worker", FOLDER)
    command: tuple[str, ...] = (sys.executable, *worker)
    if resolved.processes > 1:
        command = (
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--nproc-per-node={resolved.processes}",
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=127.0.0.1:0",
            "--local-addr=127.0.0.1",
            *worker,
        )
    return Plan(resolved.config, command, resolved.env, resolved.reasons, resolved.processes)
