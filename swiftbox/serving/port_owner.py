"""Whether a port belongs to a server of ours: a key is sent to no other program.

A server that crashed leaves its port free, and any program of any user may take it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit


def owns_address(pid: int, url: str) -> bool:
    """Tell whether a process, or one that it started, listens on the port of a URL."""
    import psutil

    port = urlsplit(url).port
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                is_listening = connection.status == psutil.CONN_LISTEN
                if is_listening and connection.laddr.port == port:
                    return True
    return False


def _tree(pid: int) -> Iterator[Any]:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)
