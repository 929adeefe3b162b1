"""The builtin server: load the model, choose lengths that fit in memory, answer until stopped."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.architectures.served_limits import beyond_positions_error, too_long_error
from swiftbox.config.deploy import DeployConfig
from swiftbox.core.generation.decode_paths import choose_path
from swiftbox.core.generation.kv_cache import cell_bytes
from swiftbox.core.generation.memory import free_bytes
from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.core.generation.parity import GreedyAnswer, ParityPrompt, generate_greedily
from swiftbox.core.generation.requests import Counters, SchedulerLimits
from swiftbox.core.generation.scheduler import Scheduler
from swiftbox.errors import MachineError
from swiftbox.language import text
from swiftbox.security.secrets import is_loopback
from swiftbox.serving.address import local_url
from swiftbox.serving.app import application
from swiftbox.serving.asgi import App
from swiftbox.serving.guards import LARGEST_BODY, AccessRules
from swiftbox.serving.listener import ServerLifecycle, listen
from swiftbox.serving.parity import Generate
from swiftbox.serving.rendering import running_renderer
from swiftbox.serving.service import Service, ServiceOptions

DRAIN_S = 10.0
"""How long running answers may continue after a stop request; then they are cancelled."""

GROWTH_COPIES = 2
"""A cache that grows exists twice for a moment."""

DEFAULT_LENGTH = 4096
"""The length in tokens for a model whose config has no limit."""


@dataclass(frozen=True)
class ServedFolders:
    """The served model and adapters: local folders, by name."""

    model: Path
    name: str
    adapters: Mapping[str, Path]
    device: str


def limits(config: DeployConfig, network: Network) -> SchedulerLimits:
    """Return lengths that the model supports and that fit in memory."""
    model_config = network.model.config.get_text_config()
    known = getattr(model_config, "max_position_embeddings", None) or DEFAULT_LENGTH
    free = free_bytes(network.model.device)
    cells = int(free * config.gpu_memory_utilization / GROWTH_COPIES / cell_bytes(network.model))
    length = config.max_model_len or min(known, cells)
    if config.max_model_len and length > known:
        raise beyond_positions_error(known, length)
    if length > cells:
        raise too_long_error(
            text(f"{cells} tokens fit in memory", f"内存最多容纳 {cells} 个 token"), length
        )
    return SchedulerLimits(
        rows=config.max_concurrency, queue=config.max_queue, length=length, cells=cells
    )


@dataclass(frozen=True)
class ServerCallbacks:
    """The stop request, and what is called while a server starts.

    `verify` gets the address and a function that answers by plain generate, before `started` gets
    the address and the limits; an error that it raises ends the server.
    """

    stop: threading.Event
    started: Callable[[str, SchedulerLimits], None]
    verify: Callable[[str, Generate], None] = lambda _url, _generate: None
    warn: Callable[[str], None] = lambda _message: None
    """Receives why answers are generated more slowly than on other models or devices."""


def serve(
    config: DeployConfig,
    served: ServedFolders,
    listening: socket.socket,
    callbacks: ServerCallbacks,
    *,
    key: str | None,
) -> Mapping[str, Any]:
    """Answer until the stop is set; return the totals. Raises MachineError if the device fails."""
    with running_renderer() as renderer:
        network = Network(
            LoadSettings(served.model, config.dtype, served.device, config.trust_remote_code)
        )
        for name, folder in served.adapters.items():
            network.add(name, folder)
        path = choose_path(network, callbacks.warn)
        scheduler = Scheduler(network, limits(config, network), path)
        options = ServiceOptions(
            may_load=config.adapter_loading,
            variables=config.chat_template_kwargs,
            tools_in_prompt=config.tools_in_prompt,
        )
        service = Service(scheduler, renderer, served.name, options)
        for name in service.models_with_unknown_calls():
            callbacks.warn(_unread_calls(name))
        access = AccessRules(
            key, LARGEST_BODY, is_loopback(config.host), config.allowed_origins or ()
        )
        app = application(service, access)
        _answer(app, scheduler, listening, callbacks)
    counters = scheduler.counters
    return {
        "requests": counters.requests,
        "generated_tokens": counters.generated_tokens,
        "failed": counters.failed,
    }


def _unread_calls(name: str) -> str:
    return text(
        f"{name}: its chat template writes tool calls in a form that is not known; they arrive as "
        "content, unless they have Hermes' form",
        f"{name}：其对话模板书写工具调用的形式未知；除 Hermes 形式外，调用将作为内容返回",
    )


def _answer(
    app: App, scheduler: Scheduler, listening: socket.socket, callbacks: ServerCallbacks
) -> None:
    """Run the scheduler and the application until the stop is set."""
    url = local_url(*listening.getsockname()[:2])

    def on_ready() -> None:
        callbacks.verify(url, lambda adapter, prompt: generate(scheduler, adapter, prompt))
        scheduler.counters = Counters()  # without those of the verification
        if not callbacks.stop.is_set():
            callbacks.started(url, scheduler.limits)

    scheduler.start()
    drain = partial(scheduler.close, DRAIN_S)
    lifecycle = ServerLifecycle(
        callbacks.stop, on_ready, drain, DRAIN_S, lambda: bool(scheduler.failure)
    )
    gc.freeze()  # otherwise each search for garbage, after many new objects, visits the model
    try:
        listen(app, listening, lifecycle)
    finally:
        gc.unfreeze()
        scheduler.close(0)
    if scheduler.failure:
        raise _device_failed(scheduler.failure)


def _device_failed(reason: str) -> MachineError:
    return MachineError(
        text(f"the server cannot compute any more: {reason}", f"服务无法继续计算：{reason}"),
        hint=text(
            "start it again; if that fails too, look at the driver's log (dmesg)",
            "请重新启动；若仍失败，请查看驱动日志（dmesg）",
        ),
    )


def generate(scheduler: Scheduler, adapter: str, prompt: ParityPrompt) -> GreedyAnswer:
    """Answer by plain generate with the model in memory, between two steps of the scheduler."""
    network = scheduler.network
    ends = network.ends(adapter)
    answer: GreedyAnswer = scheduler.call(
        lambda: generate_greedily(network.use(adapter), prompt, ends)
    ).result()
    return answer
