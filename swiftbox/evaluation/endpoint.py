"""An external server: whether it answers, and which models it has."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import replace

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import ConfigError, RunError
from swiftbox.hub import reach
from swiftbox.language import text
from swiftbox.serving.client import Endpoint, RequestRefused

TIMEOUT_S = 4.0

POLL_S = 1.0

MAX_REFUSALS = 3
"""Consecutive ones: a busy server may refuse a single connection."""


class RemoteServer:
    """An external server during an evaluation; it has ended if it refuses connections."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._last_check = time.monotonic()
        self._refusals = 0

    @property
    def is_alive(self) -> bool:
        """Tell whether it accepts connections; checked once per second."""
        if time.monotonic() - self._last_check >= POLL_S:
            self._last_check = time.monotonic()
            try:
                socket.create_connection(reach.address(self.address), timeout=TIMEOUT_S).close()
                self._refusals = 0
            except OSError:
                self._refusals += 1
        return self._refusals < MAX_REFUSALS

    def failure(self) -> RunError:
        """Return the error of a server that has ended."""
        return RunError(
            text(f"{self.address} no longer accepts connections", f"{self.address} 已无法连接"),
            hint=text(
                "see the log of the server, start it again, then `swiftbox runs resume`",
                "请查看服务的日志，重新启动后执行 `swiftbox runs resume`",
            ),
        )


def base_of(address: str) -> str:
    """Return the address with /v1 at its end, as clients expect it."""
    return address if address.endswith("/v1") else f"{address}/v1"


def key_of(variable: str | None, environment: Mapping[str, str], setting: str) -> str | None:
    """Return the key in an environment variable; raise ConfigError if it is empty."""
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise ConfigError(
            text(
                f"{setting}: {variable} is not set, or empty", f"{setting}：{variable} 未设置或为空"
            ),
            hint=f"export {variable}=...",
        )
    return key


def with_endpoint_models(config: EvaluateConfig, key: str | None) -> EvaluateConfig:
    """Return the config with the endpoint's models filled in; raise ConfigError within seconds."""
    address = base_of(config.endpoint or "")
    try:
        available = models(address, key)
    except RequestRefused as refused:
        raise _no_list(address, refused.message) from None
    requested = config.endpoint_models or available
    missing = [name for name in requested if name not in available]
    if missing or not requested:
        raise ConfigError(
            text(
                f"endpoint_models: the server has no {', '.join(missing)}",
                f"endpoint_models：该服务没有 {', '.join(missing)}",
            ),
            hint=text(f"available: {', '.join(available)}", f"可选：{', '.join(available)}"),
        )
    return config.model_copy(update={"endpoint": address, "endpoint_models": list(requested)})


def asks_for_key(config: EvaluateConfig) -> bool:
    """Tell whether the endpoint refuses to list its models without a key, which is not sent.

    Always false without `api_key_env`: then the answer is an error.
    """
    if config.api_key_env is None:
        return False
    try:
        models(base_of(config.endpoint or ""), None)
    except RequestRefused as refused:
        return 400 <= refused.status < 500
    return False


def models(address: str, key: str | None) -> list[str]:
    """Return the names of the models that a server lists; raise RequestRefused."""
    endpoint = replace(Endpoint.at(address, key), timeout_s=TIMEOUT_S)
    answer = endpoint.ask("/v1/models")
    try:
        return [str(model["id"]) for model in answer["data"]]
    except (LookupError, TypeError) as error:
        raise RequestRefused(0, str(error)) from None


def _no_list(address: str, why: str) -> ConfigError:
    return ConfigError(
        text(
            f"endpoint: {address}/models returns no list of models: {why}",
            f"endpoint：{address}/models 未返回模型列表：{why}",
        ),
        hint=text(
            "check the address and that its server is running; api_key_env names its key",
            "请检查地址，并确认该服务正在运行；密钥由 api_key_env 指明",
        ),
    )
