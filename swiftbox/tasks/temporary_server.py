"""A deployment for the duration of a block: settled, started, and stopped at its end."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.machine import Machine
from swiftbox.runs import events
from swiftbox.runs.child import BackgroundRun, background_run, child_of
from swiftbox.runs.supervise import Child, OnEvent
from swiftbox.tasks.checks import ignored
from swiftbox.tasks.deploy import check, resolve, with_absolute_paths
from swiftbox.tasks.sending import needed_secrets

KEY = "SWIFTBOX_SERVER_KEY"
"""The variable that passes the key to the server; it is written nowhere."""

KEY_BYTES = 32

START_TIMEOUT_S = 1800.0
"""Weights may be on a slow disk, and kernels are compiled on first use."""


@dataclass(frozen=True)
class TemporaryServer:
    """A running server that answers requests."""

    url: str
    """The URL, without /v1."""
    models: tuple[str, ...]
    """The name of the base, then the names of the adapters."""
    run: BackgroundRun
    key: str
    """Its API key: other users of this machine can reach its port too."""


@contextlib.contextmanager
def temporary_server(
    folder: Path,
    config: DeployConfig,
    machine: Machine,
    *,
    stop: threading.Event,
    on_event: OnEvent | None = None,
) -> Iterator[TemporaryServer | None]:
    """Run a deployment in its own folder; yield None if `stop` was set first.

    The config need not be settled. Raises UserError for an invalid config before anything starts,
    and RunError with the server's error if it ends before it answers.
    """
    resolved = resolve(config, machine)
    settled = with_absolute_paths(DeployConfig.model_validate(resolved.config.model_dump()))
    check(settled, ignored)
    key = secrets.token_urlsafe(KEY_BYTES)
    keyed = settled.model_copy(update={"api_key_env": KEY})

    def child(run_folder: Path) -> Child:
        needed = needed_secrets(settled) - {KEY}  # not a key of that name that the user has set
        return child_of(run_folder, 1, {**resolved.env, KEY: key}, needed)

    with background_run(folder, keyed, machine, child=child, on_event=on_event) as run:
        serving = run.wait_for(events.SERVING, timeout_s=START_TIMEOUT_S, stop=stop)
        if serving is None:
            yield None
        else:
            yield TemporaryServer(serving["url"], tuple(serving["models"]), run, key)
