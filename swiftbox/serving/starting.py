"""Carry a deployment out with its engine: held against the training, told where it is, stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.devices.machine import Machine
from swiftbox.files import read_json
from swiftbox.models.adapters import read_adapter
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.stop import STOP

VLLM_STOP_S = 30.0
"""For vLLM to end what it answers; then it is ended."""


@dataclass(frozen=True)
class Start:
    """What is served: a settled config, local folders, names, and whom to tell."""

    config: DeployConfig
    folder: Path
    """Of the run."""
    key: str | None
    name: str
    model: Path
    adapters: Mapping[str, Path]
    emit: Callable[..., None]
    started: Callable[..., None]
    """Gets the address, once it serves."""

    @property
    def machine(self) -> Machine:
        """Return the machine that the run was settled for."""
        return Machine.from_dict(read_json(self.folder / run_folder.MACHINE))

    def verify(self, url: str, generate: Any = None) -> None:
        """Hold the server against the training; raise ResultError for a difference."""
        if self.config.parity == "off":
            return
        from swiftbox.serving import parity
        from swiftbox.serving.client import Endpoint

        self.emit(events.STAGE, name="parity", detail="")
        folders = {self.name: self.model, **self.adapters}
        parity.hold(
            parity.Held(self.name, folders, self.config.dtype, self.config.trust_remote_code),
            Endpoint.at(url, self.key),
            strict=self.config.parity == "strict",
            generate=generate,
            stop=STOP.requested,
            emit=self.emit,
        )


def carry_out(start: Start) -> Mapping[str, Any]:
    """Serve until a stop is asked for; return what was done."""
    return _vllm(start) if start.config.engine == "vllm" else _builtin(start)


def _builtin(start: Start) -> Mapping[str, Any]:
    from swiftbox.serving.address import bound
    from swiftbox.serving.embedded import Served, serve

    config = start.config
    device = BACKENDS[start.machine.backend].torch_device
    served = Served(start.model, start.name, start.adapters, device)
    STOP.can_save.set()  # from here on a stop is ours to carry out

    def serving(url: str, limits: Any) -> None:
        start.started(url, max_model_len=limits.length, slots=limits.rows)

    with bound(config.host, config.port) as listening:
        return serve(
            config,
            served,
            listening,
            key=start.key,
            stop=STOP.requested,
            started=serving,
            verify=start.verify,
        )


def _vllm(start: Start) -> Mapping[str, Any]:
    from swiftbox.serving import vllm
    from swiftbox.serving.address import bound, local_url

    config = start.config
    with bound(config.host, config.port) as free:
        port = free.getsockname()[1]
    ranks = tuple(int(read_adapter(one).config.get("r", 0)) for one in start.adapters.values())
    program = vllm.executable()
    target = vllm.Target(program, start.model, start.name, start.adapters, ranks, port)
    own = vllm.environment(start.machine.backend, key=start.key, loading=config.adapter_loading)
    url = local_url(config.host, port)
    STOP.can_save.set()

    def answers() -> None:
        start.verify(url)
        if not STOP.requested.is_set():
            start.started(url)

    vllm.watch(
        vllm.command(config, target),
        {**os.environ, **own},
        url,
        stop=STOP.requested,
        started=answers,
        drain_s=VLLM_STOP_S,
        log=start.folder / run_folder.LOG,
    )
    return {}
