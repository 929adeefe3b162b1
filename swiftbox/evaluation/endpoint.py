"""A server of somebody's own: does it answer, and which models does it have."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import replace

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import ConfigError, RunError
from swiftbox.hub import reach
from swiftbox.language import text
from swiftbox.serving.client import Endpoint, Refused

LONGEST_S = 4.0

LOOK_EVERY_S = 1.0

REFUSED_TIMES = 3
"""In a row: one connection more or less says nothing of a busy server."""


class Remote:
    """A server of somebody's own while it is asked; it has ended when it takes no connection."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._looked = time.monotonic()
        self._refused = 0

    @property
    def is_alive(self) -> bool:
        """Tell whether it takes connections; looked at each second."""
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._looked = time.monotonic()
            try:
                socket.create_connection(reach.address(self.address), timeout=LONGEST_S).close()
                self._refused = 0
            except OSError:
                self._refused += 1
        return self._refused < REFUSED_TIMES

    def failure(self) -> RunError:
        """Return what is wrong with it."""
        return RunError(
            text(f"{self.address} takes no connection any more", f"{self.address} 已无法连接")
        )


def base_of(address: str) -> str:
    """Return the address that ends in /v1, as clients want it."""
    return address if address.endswith("/v1") else f"{address}/v1"


def key_of(variable: str | None, environment: Mapping[str, str], setting: str) -> str | None:
    """Return a key by the name of its variable; raise ConfigError when that is empty."""
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


def asked_there(config: EvaluateConfig, environment: Mapping[str, str]) -> EvaluateConfig:
    """Return the config with the models of the endpoint named; raise ConfigError in seconds."""
    address = base_of(config.endpoint or "")
    there = models(address, key_of(config.api_key_env, environment, "api_key_env"))
    wanted = config.endpoint_models or there
    lost = [one for one in wanted if one not in there]
    if lost or not wanted:
        raise ConfigError(
            text(
                f"endpoint_models: {', '.join(lost)} is not there",
                f"endpoint_models：该服务没有 {', '.join(lost)}",
            ),
            hint=text(f"there are: {', '.join(there)}", f"可选：{', '.join(there)}"),
        )
    return config.model_copy(update={"endpoint": address, "endpoint_models": list(wanted)})


def models(address: str, key: str | None) -> list[str]:
    """Return the names of the models that a server lists."""
    there = replace(Endpoint.at(address, key), timeout_s=LONGEST_S)
    try:
        return [str(one["id"]) for one in there.ask("/v1/models")["data"]]
    except Refused as refused:
        why = refused.message
    except (LookupError, TypeError) as error:
        why = str(error)
    raise ConfigError(
        text(
            f"endpoint: {address}/models gives no list of models: {why}",
            f"endpoint：{address}/models 未返回模型列表：{why}",
        ),
        hint=text(
            "is it running, and is its key in api_key_env?",
            "服务是否在运行？密钥是否由 api_key_env 指明？",
        ),
    )
