"""The address a server listens at, and the URL under which this machine reaches it."""

from __future__ import annotations

import socket

from swiftbox.errors import ConfigError
from swiftbox.language import text

EVERYWHERE = ("0.0.0.0", "::")


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at the address; raise ConfigError when it cannot be had."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(host, port, error) from None
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(place)
    except OSError as error:
        found.close()
        raise _refused(host, port, error) from None
    return found


def _refused(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        text(
            f"port: cannot listen at {host}:{port}: {error.strerror}",
            f"port：无法监听 {host}:{port}：{error.strerror}",
        ),
        hint=text("set another port, or port: 0 for a free one", "请更换 port，或设 port: 0"),
    )


def local_url(host: str, port: int) -> str:
    """Return the URL of an address as a client on this machine reaches it."""
    if host in EVERYWHERE:
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
