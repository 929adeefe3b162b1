"""Run an application under uvicorn until a stop is requested, and end it within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from swiftbox.serving.asgi import App
from swiftbox.serving.connections import Acceptor, Places, TimedConnection, largest_count
from swiftbox.serving.log_limit import limit_log

POLL_S = 0.1
DELIVERY_S = 2
"""The time for the last answers to reach their clients."""


@dataclass(frozen=True)
class ServerLifecycle:
    """When a server stops, and what it calls when it is ready and before it ends.

    `on_ready` is called in a thread as soon as requests are accepted, and may send one; an error
    that it raises ends the server. `drain` is called in a thread, and takes at most `drain_s`.
    The server also ends as soon as `has_failed` returns true.
    """

    stop: threading.Event
    on_ready: Callable[[], None]
    drain: Callable[[], Any]
    drain_s: float
    has_failed: Callable[[], bool] = lambda: False


class _Server(uvicorn.Server):
    """A server with limited connections that leaves signals to its process.

    The worker handles stop requests itself.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections on bound sockets while there are places for them."""
        await self.lifespan.startup()
        places = Places(largest_count())

        def connect() -> TimedConnection:
            return TimedConnection(self.config, self.server_state, places)

        acceptors = [Acceptor(listening, places, connect) for listening in sockets or []]
        for acceptor in acceptors:
            acceptor.start()
        servers: Any = acceptors  # they close and wait as asyncio's servers do
        self.servers = servers
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def listen(app: App, listening: socket.socket, lifecycle: ServerLifecycle) -> None:
    """Answer until `lifecycle` says to end; then refuse new connections, drain, and end."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        http="h11",
        timeout_graceful_shutdown=int(lifecycle.drain_s) + DELIVERY_S,
    )
    limit_log()
    asyncio.run(_listen(_Server(config), listening, lifecycle))


async def _listen(
    server: uvicorn.Server, listening: socket.socket, lifecycle: ServerLifecycle
) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    try:
        await asyncio.to_thread(lifecycle.on_ready)
        while not (lifecycle.stop.is_set() or lifecycle.has_failed() or serving.done()):
            await asyncio.sleep(POLL_S)
    finally:
        server.should_exit = True
        await asyncio.to_thread(lifecycle.drain)
        await serving
