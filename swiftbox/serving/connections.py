"""Connections of the server: fewer than the process may open, and none that waits for ever.

A connection is `waiting` while the server waits for its client: for the headers of a request, for
the rest of its body, or for the answer to be read. Each wait has a deadline that single bytes do
not extend, so a client that sends one byte a second gains nothing; a long body or answer gets more
time as long as its bytes move. Where all places are taken, the connection that has waited longest
is closed for a new one; answers that are being made stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from swiftbox.serving.http_parser import LimitedParser

HEADERS_S = 10.0
"""The time for all headers of a request, from the connection or the last answer on."""

BODY_S = 60.0
"""The time for a body, or for the next PROGRESS_BYTES of it."""

READ_S = 60.0
"""The time for a client to read what is already sent, or the next PROGRESS_BYTES of it."""

PROGRESS_BYTES = 2**19
"""What a client has to send or to read for more time: about 70 kilobits per second."""

READ_BYTES = 2**14
"""What is read from a connection before the others are served again."""

CLOSE_S = 2.0
"""The time for a last answer to leave, before a connection is cut off."""

ACCEPTED_AT_ONCE = 16
"""Connections that are accepted before the others are served again."""

BACKLOG = 1024
"""Connections that the system may keep for us; it caps this number itself."""

RETRY_S = 0.1
"""The pause before accepting again where the system has no descriptor."""

LARGEST_COUNT = 4096
"""The most connections at once: enough for every request in a long queue, and about 100 MB."""

SMALLEST_RESERVE = 32
"""Descriptors for files, adapters, children, and connections that are being closed."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
NO_PLACE = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

logger = logging.getLogger("uvicorn.error")
"""The log of the server, with its limit on repeated lines."""


def largest_count() -> int:
    """Return how many connections the limit of open files leaves room for."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return LARGEST_COUNT
    reserve = max(SMALLEST_RESERVE, limit // 8)
    return max(1, min(LARGEST_COUNT, limit - _open_files() - reserve))


def _open_files() -> int:
    """Count the open descriptors of this process."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return SMALLEST_RESERVE


class Places:
    """The places for connections, and which of them wait for their clients."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self.waiting: dict[TimedConnection, None] = {}
        """The connection that has waited longest is the first."""

    def make_room(self) -> bool:
        """Return whether a place is free; close the longest waiting connection to get one."""
        return self.taken < self.count or self.close_waiting()

    def close_waiting(self) -> bool:
        """Close the connection that has waited longest; return False if none waits."""
        if not self.waiting:
            return False
        next(iter(self.waiting)).cut_off()
        return True


class TimedConnection(H11Protocol):
    """An HTTP/1.1 connection with a deadline for everything that its client has to do."""

    def __init__(self, config: Config, server_state: ServerState, places: Places) -> None:
        super().__init__(config, server_state, {})
        self.conn = LimitedParser()
        self._places = places
        self._timer: asyncio.TimerHandle | None = None
        self._wait: tuple[object, str] | None = None
        """The request and what its client has to do: send headers, send a body, or read."""
        self._has_place = True
        self._received = 0
        """Bytes of the connection."""
        self._progress = 0
        """What was received, or not yet read, when the wait began."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the headers of the first request."""
        selector_transport: Any = transport
        selector_transport.max_size = READ_BYTES
        super().connection_made(transport)
        self._update()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self._stop_waiting()
        self._wait = None
        self._free_place()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._received += len(data)
        super().data_received(data)
        self._update()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request; close the connection if it has an answer already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was refused, or for the next request."""
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        """Wait for the client to read its answer."""
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        """Continue with what the client has to do next."""
        super().resume_writing()
        self._update()

    def _update(self) -> None:
        """Start the deadline of what the client has to do now; a running one is not extended."""
        state = self.conn.their_state
        if self.flow.write_paused or self.transport.is_closing():
            self._wait_for(None, "read", READ_S)
        elif state is h11.IDLE:
            self._wait_for(self.cycle, "headers", HEADERS_S)
        elif state is h11.SEND_BODY:
            self._wait_for(self.cycle, "body", BODY_S)
        else:
            self._stop_waiting()
            self._wait = None

    def _wait_for(self, request: object, what: str, within_s: float) -> None:
        if not self._has_place or self._wait == (request, what):
            return
        self._stop_waiting()
        self._wait = (request, what)
        self._start_timer(what, within_s)
        self._places.waiting[self] = None

    def _start_timer(self, what: str, within_s: float) -> None:
        self._progress = self._moved(what)
        self._timer = self.loop.call_later(within_s, self._expire, what, within_s)

    def _moved(self, what: str) -> int:
        """Return a count of bytes that grows as the client sends or reads."""
        return -self.transport.get_write_buffer_size() if what == "read" else self._received

    def _is_answered(self) -> bool:
        return self.conn.our_state is not h11.SEND_RESPONSE

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._places.waiting.pop(self, None)

    def _expire(self, what: str, within_s: float) -> None:
        """End a connection whose client was too slow, with an answer if it waits for one."""
        may_continue = what == "read" or (what == "body" and not self._is_answered())
        if may_continue and self._moved(what) - self._progress >= PROGRESS_BYTES:
            self._start_timer(what, within_s)
            return
        self._stop_waiting()
        if what == "read":
            self.cut_off()
            return
        is_begun = bool(self.conn.trailing_data[0])
        is_open = is_begun if what == "headers" else not self._is_answered()
        if is_open and not self.transport.is_closing():
            self.transport.write(TIMED_OUT)
        self.transport.close()
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def cut_off(self) -> None:
        """Close at once, without waiting for the client to read anything."""
        self._stop_waiting()
        self._free_place()
        self.transport.abort()

    def _free_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.taken -= 1


class Acceptor:
    """Accepts connections on a bound socket while there are places for them.

    Replaces asyncio's server, which accepts as many connections as the system holds at once, and
    reports each one that it has no descriptor for.
    """

    def __init__(
        self, listening: socket.socket, places: Places, connect: Callable[[], TimedConnection]
    ) -> None:
        self._listening = listening
        self._places = places
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    def start(self) -> None:
        """Listen."""
        self._listening.setblocking(False)
        self._listening.listen(BACKLOG)
        self._resume()

    def close(self) -> None:
        """Accept no more connections."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listening.fileno())

    async def wait_closed(self) -> None:
        """Wait for connections that are being set up."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        """Accept the connections that wait, a few at a time."""
        for _ in range(ACCEPTED_AT_ONCE):
            has_room = self._places.make_room()
            if not has_room and self._tasks:
                return  # those that are being set up wait for their clients in a moment
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._pause(error)
                return
            if has_room:
                self._take(connection)
            else:
                _refuse(connection)

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a moment; a waiting connection is closed to free its descriptor."""
        self._places.close_waiting()
        logger.warning("no connection can be accepted: %s", error.strerror)
        self._loop.remove_reader(self._listening.fileno())
        self._loop.call_later(RETRY_S, self._resume)

    def _take(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # asyncio does so for some sockets only; a small answer would wait 40 ms for its second part
        with contextlib.suppress(OSError):  # closed already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._places.taken += 1
        task = self._loop.create_task(self._set_up(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _set_up(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connect, connection)
        except OSError as error:
            self._places.taken -= 1
            connection.close()
            logger.warning("a connection cannot be set up: %s", error.strerror)


def _refuse(connection: socket.socket) -> None:
    """Answer that there is no place, and close."""
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(NO_PLACE)
