"""Which endpoints of a hub answer, probed within seconds and before any SDK is imported."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from swiftbox.hub.transfer_errors import TransferError
from swiftbox.language import text
from swiftbox.security.secrets import ENDPOINT_VARIABLES, HUB_TOKENS, is_plain

PROBE_TIMEOUT_S = 2.5
"""The time for all endpoints together: a link that connects more slowly cannot transfer a model."""

ENDPOINTS = {
    "modelscope": ("https://modelscope.cn", "https://www.modelscope.ai"),
    "huggingface": ("https://huggingface.co",),
}
"""The endpoints of each hub, unless a config or the environment names others."""


SOCKS_PACKAGES = {"modelscope": ("socks", "PySocks"), "huggingface": ("socksio", "socksio")}
"""For each hub: the module and the package with which its SDK uses SOCKS proxies."""


def endpoints_of(hub: str, configured: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a hub's endpoints: those configured, else the environment's, else the usual ones."""
    chosen = os.environ.get(ENDPOINT_VARIABLES[hub], "").replace(",", " ").split()
    endpoints = map(_with_scheme, configured or chosen)
    return tuple(dict.fromkeys(endpoints)) or ENDPOINTS[hub]


def _with_scheme(endpoint: str) -> str:
    endpoint = endpoint.strip().rstrip("/")
    return endpoint if "://" in endpoint else f"https://{endpoint}"


def reachable(endpoints: Iterable[str], timeout_s: float = PROBE_TIMEOUT_S) -> tuple[str, ...]:
    """Return the endpoints that accept a connection in time, in order; probes them in parallel."""
    candidates = list(dict.fromkeys(endpoints))
    answered: set[str] = set()
    threads = [
        # Daemon threads: a name server that never answers must not keep the process alive.
        threading.Thread(target=_probe, args=(endpoint, timeout_s, answered), daemon=True)
        for endpoint in candidates
    ]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return tuple(endpoint for endpoint in candidates if endpoint in answered)


def _probe(endpoint: str, timeout_s: float, answered: set[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        socket.create_connection(address(endpoint), timeout=timeout_s).close()
        answered.add(endpoint)


def address(endpoint: str) -> tuple[str, int]:
    """Return the host and port to connect to for an endpoint: the proxy's if one is set."""
    import urllib.request  # takes 40 ms; only downloads need it

    parts = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    default_port = {"https": 443, "socks5": 1080, "socks5h": 1080}.get(parts.scheme, 80)
    return parts.hostname or "", parts.port or default_port


def require_supported_proxy(hub: str, endpoint: str) -> None:
    """Raise TransferError for a SOCKS proxy that the SDK of a hub cannot use."""
    import urllib.request

    proxies = urllib.request.getproxies()
    parts = urlsplit(endpoint)
    used = [proxies.get(parts.scheme) or proxies.get("all")]
    if hub == "huggingface":  # its SDK opens every proxy that is set
        used = [proxies.get(key) for key in ("http", "https", "all")]
    is_bypassed = bool(urllib.request.proxy_bypass(parts.hostname or ""))
    if is_bypassed and (hub != "huggingface" or proxies.get("no", "").strip() == "*"):
        return
    module, package = SOCKS_PACKAGES[hub]
    for proxy in used:
        if proxy and proxy.lower().startswith("socks") and not importlib.util.find_spec(module):
            scheme = proxy.partition("://")[0]
            raise TransferError(
                "proxy",
                text(
                    f"a {scheme} proxy is set, which needs the package {package}",
                    f"已设置 {scheme} 代理，需要软件包 {package}",
                ),
            )


def token_withheld(hub: str, endpoint: str) -> str:
    """Say that an endpoint does not get the token of a hub, and why."""
    token, variable = HUB_TOKENS[hub][0], ENDPOINT_VARIABLES[hub]
    if is_plain(endpoint):
        return text(
            f"{token} is not sent to {endpoint}: the connection is not encrypted",
            f"不向 {endpoint} 发送 {token}：连接未加密",
        )
    return text(
        f"{token} is not sent to {endpoint}, which is not a host of {hub}; if it may have the "
        f"token, set {variable}={endpoint} in the environment",
        f"不向 {endpoint} 发送 {token}：它不是 {hub} 的主机；"
        f"若允许，请设置环境变量 {variable}={endpoint}",
    )
