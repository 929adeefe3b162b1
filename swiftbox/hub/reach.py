"""Which addresses of a hub answer, found out in two seconds and before any SDK is loaded."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

LONGEST_S = 2.5
"""For all addresses together: a link that needs longer to say hello carries no model."""

ENDPOINTS = {
    "modelscope": ("MODELSCOPE_ENDPOINT", ("https://modelscope.cn", "https://www.modelscope.ai")),
    "huggingface": ("HF_ENDPOINT", ("https://huggingface.co",)),
}


def endpoints_of(hub: str, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the addresses of a hub: those asked for, else the environment's, else its own."""
    variable, usual = ENDPOINTS[hub]
    given = list(asked) or os.environ.get(variable, "").replace(",", " ").split()
    return tuple(dict.fromkeys(_normal(one) for one in given)) or usual


def _normal(endpoint: str) -> str:
    whole = endpoint.strip().rstrip("/")
    return whole if "://" in whole else f"https://{whole}"


def reachable(endpoints: Iterable[str], timeout_s: float = LONGEST_S) -> tuple[str, ...]:
    """Return those that answer in time, in the order given; all are asked at once."""
    wanted = list(dict.fromkeys(endpoints))
    answered: set[str] = set()
    threads = [
        # Daemons: a name server that never answers must not hold the process.
        threading.Thread(target=_ask, args=(one, timeout_s, answered), daemon=True)
        for one in wanted
    ]
    until = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return tuple(one for one in wanted if one in answered)


def _ask(endpoint: str, timeout_s: float, answered: set[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        socket.create_connection(address(endpoint), timeout=timeout_s).close()
        answered.add(endpoint)


def address(endpoint: str) -> tuple[str, int]:
    """Return host and port to connect to for an address: those of the proxy where one is set."""
    import urllib.request  # 40 ms, and only where something is fetched

    parts = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    usual = {"https": 443, "socks5": 1080, "socks5h": 1080}.get(parts.scheme, 80)
    return parts.hostname or "", parts.port or usual
