"""A deployment beside another piece of work: settled, started, its address told, ended with it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.machine import Machine
from swiftbox.runs import events
from swiftbox.runs.child import BackgroundRun, background_run, child_of
from swiftbox.runs.supervise import OnEvent
from swiftbox.tasks.checks import OnRemark, ignored
from swiftbox.tasks.deploy import check, resolve, with_absolute_paths

LONGEST_START_S = 1800.0
"""Weights from a slow disk, kernels compiled for the first time."""


@dataclass(frozen=True)
class Serving:
    """A server that answers."""

    url: str
    """Without /v1."""
    models: tuple[str, ...]
    """The base's name first, then those of the adapters."""
    running: BackgroundRun


@contextlib.contextmanager
def serving(
    folder: Path,
    config: DeployConfig,
    machine: Machine,
    *,
    stop: threading.Event,
    on_remark: OnRemark = ignored,
    on_event: OnEvent | None = None,
) -> Iterator[Serving | None]:
    """Keep a deployment going in a folder of its own; yield None when `stop` came first.

    The config need not be settled. Raises UserError for what is wrong with it before anything
    starts, and RunError with the server's last words when it ends before it answers.
    """
    resolved = resolve(config, machine)
    settled = with_absolute_paths(DeployConfig.model_validate(resolved.config.model_dump()))
    check(settled, on_remark)
    with background_run(
        folder,
        settled,
        machine,
        child=lambda there: child_of(there, 1, resolved.env),
        on_event=on_event,
    ) as running:
        told = running.wait_for(events.SERVING, timeout_s=LONGEST_START_S, stop=stop)
        yield None if told is None else Serving(told["url"], tuple(told["models"]), running)
