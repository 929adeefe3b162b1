"""Run an application under uvicorn until a stop is asked for, and end it within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from swiftbox.serving.guards import App

LOOK_AGAIN_S = 0.1
AFTER_THE_LAST_S = 2
"""For the last answers to reach their clients."""


class _Quiet(uvicorn.Server):
    """A server that leaves signals to its process: the worker has its own way to be stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def listen(
    app: App,
    listening: socket.socket,
    *,
    stop: threading.Event,
    started: Callable[[], None],
    drain: Callable[[], Any],
    drain_s: float,
) -> None:
    """Answer until `stop` is set; then close to newcomers, call `drain`, and end.

    `started` is called in a thread when the first request can come, and may ask one itself; what
    it raises ends the server. `drain` is called in a thread, within `drain_s`.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        http="h11",
        timeout_graceful_shutdown=int(drain_s) + AFTER_THE_LAST_S,
    )
    asyncio.run(_listen(_Quiet(config), listening, stop, started, drain))


async def _listen(
    server: uvicorn.Server,
    listening: socket.socket,
    stop: threading.Event,
    started: Callable[[], None],
    drain: Callable[[], Any],
) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    try:
        await asyncio.to_thread(started)
        while not stop.is_set() and not serving.done():
            await asyncio.sleep(LOOK_AGAIN_S)
    finally:
        server.should_exit = True
        await asyncio.to_thread(drain)
        await serving
