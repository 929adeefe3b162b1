"""swiftbox's own server: load the model, settle what memory allows, answer until stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.deploy import DeployConfig
from swiftbox.core.generation.kv_cache import cell_bytes
from swiftbox.core.generation.memory import free_bytes
from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.core.generation.parity import GreedyAnswer, ParityPrompt, generate_greedily
from swiftbox.core.generation.requests import Counters, SchedulerLimits
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.errors import MachineError
from swiftbox.language import text
from swiftbox.serving.address import local_url
from swiftbox.serving.app import application
from swiftbox.serving.listening import listen
from swiftbox.serving.parity import Generate
from swiftbox.serving.service import Service

LARGEST_BODY = 4 * 2**20
"""Bytes; a million tokens of text."""

DRAIN_S = 10.0
"""For answers under way to end, once a stop is asked for; those that are left are given up."""

MOVING = 2
"""A window that grows is there twice for a moment."""

USUAL_LENGTH = 4096
"""Tokens, of a model that does not say how many it can read."""


@dataclass(frozen=True)
class Served:
    """What is served, by name: local folders."""

    model: Path
    name: str
    adapters: Mapping[str, Path]
    device: str


def limits(config: DeployConfig, network: Network) -> SchedulerLimits:
    """Settle lengths by what the model reads and the memory holds."""
    said = network.model.config.get_text_config()
    known = getattr(said, "max_position_embeddings", None) or USUAL_LENGTH
    free = free_bytes(network.model.device)
    cells = int(free * config.gpu_memory_utilization / MOVING / cell_bytes(network.model))
    length = config.max_model_len or min(known, cells)
    if config.max_model_len and length > known:
        raise _too_long(
            text(f"the model reads {known} tokens", f"模型最多读取 {known} 个 token"), length
        )
    if length > cells:
        raise _too_long(
            text(f"memory holds {cells} tokens", f"内存最多容纳 {cells} 个 token"), length
        )
    return SchedulerLimits(
        rows=config.max_concurrency, queue=config.max_queue, length=length, cells=cells
    )


def _too_long(why: str, length: int) -> MachineError:
    return MachineError(
        f"max_model_len: {length}: {why}",
        hint=text("set a smaller max_model_len", "请减小 max_model_len"),
    )


def serve(
    config: DeployConfig,
    served: Served,
    listening: socket.socket,
    *,
    key: str | None,
    stop: threading.Event,
    started: Callable[[str, SchedulerLimits], None],
    verify: Callable[[str, Generate], None] = lambda _url, _generate: None,
) -> Mapping[str, Any]:
    """Answer until `stop` is set; return what was done. `started` gets the address.

    Before that `verify` gets it, with a way to answer by plain generate; what it raises ends all.
    """
    network = Network(
        LoadSettings(served.model, config.dtype, served.device, config.trust_remote_code)
    )
    for name, folder in served.adapters.items():
        network.add(name, folder)
    scheduler = Scheduler(network, limits(config, network))
    scheduler.start()
    service = Service(scheduler, served.name, may_load=config.adapter_loading)
    url = local_url(*listening.getsockname()[:2])

    def answers() -> None:
        verify(url, lambda adapter, prompt: generated(scheduler, adapter, prompt))
        scheduler.counters = Counters()  # of those who are served
        if not stop.is_set():
            started(url, scheduler.limits)

    try:
        listen(
            application(service, key=key, largest_body=LARGEST_BODY),
            listening,
            stop=stop,
            started=answers,
            drain=lambda: scheduler.close(DRAIN_S),
            drain_s=DRAIN_S,
        )
    finally:
        scheduler.close(0)
    counters = scheduler.counters
    return {
        "requests": counters.requests,
        "generated_tokens": counters.generated_tokens,
        "failed": counters.failed,
    }


def generated(scheduler: Scheduler, adapter: str, prompt: ParityPrompt) -> GreedyAnswer:
    """Answer with the model in memory between two steps, past the scheduler's own way."""
    network = scheduler.network
    ends = network.ends(adapter)
    found: GreedyAnswer = scheduler.call(
        lambda: generate_greedily(network.use(adapter), prompt, ends)
    ).result()
    return found
