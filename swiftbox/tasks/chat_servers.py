"""The servers of a chat: those that its participants need are started, and all are connected."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from swiftbox.config.chat import ChatConfig
from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, RunError
from swiftbox.language import text
from swiftbox.models.gguf_files import holds_gguf
from swiftbox.runs.supervise import OnEvent
from swiftbox.serving.client import Endpoint, RequestRefused
from swiftbox.serving.port_owner import owns_address
from swiftbox.serving.questions import Participant
from swiftbox.tasks.participants import ParticipantSource, participant_sources
from swiftbox.tasks.temporary_server import temporary_server

SERVED_AS = "swiftbox-base"
"""The name of the model on a temporary server; adapters keep the names that users see."""


@contextlib.contextmanager
def connected_participants(
    config: ChatConfig,
    folder: Path,
    machine: Machine,
    *,
    stop: threading.Event,
    on_event: OnEvent | None = None,
) -> Iterator[list[Participant]]:
    """Start the servers that a chat needs and yield its participants; stop them with the block.

    Yields an empty list if `stop` was set first.
    """
    sources = participant_sources(config)
    endpoints: dict[str, Endpoint] = {}
    with contextlib.ExitStack() as stack:
        for number, deployment in enumerate(required_deployments(config, sources), start=1):
            server = stack.enter_context(
                temporary_server(
                    folder / f"server-{number}",
                    deployment,
                    machine,
                    stop=stop,
                    on_event=on_event,
                )
            )
            if server is None:
                yield []
                return
            endpoints[deployment.model or ""] = Endpoint.at(server.url, server.key)
        yield [_connect(config, source, endpoints) for source in sources]


def required_deployments(
    config: ChatConfig, sources: Sequence[ParticipantSource]
) -> list[DeployConfig]:
    """Return the servers to start: one per base, with all adapters that are needed on it."""
    local = [source for source in sources if source.url is None and source.model is not None]
    adapters: dict[str, dict[str, str]] = {str(source.model): {} for source in local}
    for source in local:
        if source.adapter is not None:
            adapters[str(source.model)][source.name] = source.adapter
    first = {str(source.model): source for source in reversed(local)}
    return [_deployment_of(config, first[model], names) for model, names in adapters.items()]


def _deployment_of(
    config: ChatConfig, source: ParticipantSource, adapters: dict[str, str]
) -> DeployConfig:
    settings = {
        "model": source.model,
        "adapters": adapters or None,
        "served_model_name": SERVED_AS,
        "hub": source.hub or config.hub,
        "revision": config.revision or source.revision,
        "trust_remote_code": config.trust_remote_code,
        "engine": "llama_cpp" if holds_gguf(source.model) else "builtin",
        "port": 0,
        "parity": "off",  # compared with the training only where others use the server
    }
    return DeployConfig.model_validate(settings)


def _connect(
    config: ChatConfig, source: ParticipantSource, endpoints: dict[str, Endpoint]
) -> Participant:
    temperature = config.temperature
    if source.url is None:
        model = SERVED_AS if source.adapter is None else source.name
        endpoint = endpoints[source.model or ""]
        return Participant(source.name, endpoint, model, temperature, config.chat_template_kwargs)
    endpoint = Endpoint.at(source.url, _key_of(source))
    model = source.model or served_model(endpoint, prefer_base=source.is_base)
    return Participant(source.name, endpoint, model, temperature, config.chat_template_kwargs)


def _key_of(source: ParticipantSource) -> str | None:
    """Return the API key of an address; raise ConfigError if its variable is not set.

    Raises RunError if the address is that of a run whose server does not listen there any more.
    """
    if not source.key_env:
        return None
    if source.process is not None and not owns_address(source.process, source.url or ""):
        raise RunError(
            text(
                f"{source.name} does not listen on {source.url} any more; its key is not sent",
                f"{source.name} 已不再监听 {source.url}；不发送密钥",
            ),
            hint=text("see `swiftbox runs list`", "请查看 `swiftbox runs list`"),
        )
    return require_key(source.key_env)


def require_key(variable: str) -> str:
    """Return the API key in an environment variable; raise ConfigError if it is not set."""
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(
            text(f"api_key_env: {variable} is not set", f"api_key_env：{variable} 未设置"),
            hint=f"export {variable}=...",
        )
    return key


def _not_reached(endpoint: Endpoint) -> str:
    """Return what helps where an address does not answer: ours are local and in the list."""
    if endpoint.is_local:
        return text(
            "check that it is running: `swiftbox runs list` shows deployments and their health",
            "请确认其正在运行：`swiftbox runs list` 显示部署及其状态",
        )
    return text(
        "check the address, and that its server is running",
        "请检查地址，并确认该服务正在运行",
    )


def served_model(endpoint: Endpoint, *, prefer_base: bool) -> str:
    """Return the first adapter that an endpoint serves, or its first model."""
    try:
        rows = endpoint.ask("/v1/models").get("data") or []
        models = [(str(row["id"]), row.get("parent")) for row in rows]
    except (RequestRefused, KeyError, TypeError) as error:
        raise RunError(
            text(f"{endpoint.url} does not answer: {error}", f"{endpoint.url} 无应答：{error}"),
            hint=_not_reached(endpoint),
        ) from None
    preferred = [name for name, parent in models if bool(parent) is not prefer_base]
    names = preferred or [name for name, _ in models]
    if not names:
        raise RunError(
            text(f"{endpoint.url} serves no model", f"{endpoint.url} 没有模型"),
            hint=text(
                "give an address whose /v1/models lists a model",
                "请给出 /v1/models 中列有模型的地址",
            ),
        )
    return names[0]
