"""The address of a server, and the URL by which this machine reaches it."""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

from swiftbox.errors import ConfigError
from swiftbox.language import text

ALL_INTERFACES = ("0.0.0.0", "::")


def listen_on(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; raise ConfigError if that fails."""
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(target)
    except OSError as error:
        bound.close()
        raise _cannot_listen(host, port, error) from None
    return bound


def free_port(host: str, port: int) -> int:
    """Return the port, or for 0 a free one; raise ConfigError if it cannot be listened on."""
    with listen_on(host, port) as bound:
        number: int = bound.getsockname()[1]
        return number


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            text(
                f"host: {host} is not an address of this machine ({error.strerror})",
                f"host：{host} 不是本机的地址（{error.strerror}）",
            ),
            hint=text(
                "set host: 127.0.0.1, or 0.0.0.0 for every address of this machine",
                "请设 host: 127.0.0.1；设 0.0.0.0 则监听本机所有地址",
            ),
        )
    return ConfigError(
        text(
            f"port: cannot listen on {host}:{port}: {error.strerror}",
            f"port：无法监听 {host}:{port}：{error.strerror}",
        ),
        hint=text("set another port, or port: 0 for a free one", "请更换 port，或设 port: 0"),
    )


def is_this_machine(url: str) -> bool:
    """Tell whether the host of a URL is an address of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        family, _, _, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(target)  # fails for the address of another machine
    except (OSError, UnicodeError):
        return False
    return True


def local_url(host: str, port: int) -> str:
    """Return the URL by which a client on this machine reaches an address."""
    if host in ALL_INTERFACES:
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
