"""Our listener in front of another program's server, which checks neither hosts nor sizes.

The program listens on a Unix socket in a folder that only this user can enter. Requests reach it
through the checks that ours have (guards.py): the host, so that a page in the user's browser cannot
use it by DNS rebinding, the origin, the key, and the size of the body. Its JSON is limited too:
a program that recurses into values crashes at a deep one. No more requests are passed on at the
same time than the program answers: further ones wait here, and its health stays readable.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftbox.serving.address import local_url
from swiftbox.serving.api_errors import ApiError, busy, closing
from swiftbox.serving.asgi import Receive, Scope, Send
from swiftbox.serving.chat_page import ChatPage, PageDefaults
from swiftbox.serving.guards import AccessRules, guarded, refuse
from swiftbox.serving.plain_values import SMALL_BODY, parse_body

if TYPE_CHECKING:
    import httpx2

SOCKET = "server.sock"
"""llama.cpp takes an address for a socket if its name ends like this."""

CONNECT_S = 10.0
DRAIN_S = 10.0
"""How long running answers may continue after a stop request; then they are cut off."""

MAX_GROUPS = 256
"""Levels of brackets in a grammar; those of JSON schemas have about ten."""

RETRY_AFTER_S = 5
POLL_S = 0.05

NOT_FORWARDED = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade expect "
    b"content-length authorization x-api-key cookie origin".split()
)
"""Headers of a request that are for us, or about the connection to us."""

NOT_RETURNED = frozenset(b"connection keep-alive transfer-encoding server date".split())
CORS = b"access-control-"
"""Headers of an answer that we write ourselves."""


@dataclass(frozen=True)
class ForwardedServer:
    """Where another program's server listens, and how much it answers at the same time."""

    socket: Path
    slots: int
    queue: int
    """Requests that may wait in addition."""
    page: PageDefaults = field(default_factory=PageDefaults)
    """What our page shows of it; the program's own page is never asked for."""


@dataclass
class Listener:
    """Our listener: its URL, and an event that is set once it has ended."""

    url: str
    ended: threading.Event
    error: BaseException | None = None
    """The error that has ended it."""


@contextlib.contextmanager
def private_socket() -> Iterator[Path]:
    """Yield a path for a socket that only this user can reach.

    Not in the run folder: the path of a socket is limited to about 100 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="swiftbox-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / SOCKET


@contextlib.contextmanager
def forwarding(
    server: ForwardedServer,
    listening: socket.socket,
    access: AccessRules,
    *,
    stop: threading.Event,
) -> Iterator[Listener]:
    """Pass on requests from a bound socket until `stop` is set, or the block ends.

    A stop refuses new requests; `ended` is set once the running ones are answered.
    """
    from swiftbox.serving.listener import ServerLifecycle, listen

    forwarder = Forwarder(server)
    listener = Listener(local_url(*listening.getsockname()[:2]), threading.Event())
    ready, block_ended = threading.Event(), _EitherEvent(stop)
    lifecycle = ServerLifecycle(block_ended, ready.set, forwarder.drain, DRAIN_S)

    def run() -> None:
        try:
            app = ChatPage(forwarder, lambda: server.page)
            listen(guarded(app, access), listening, lifecycle)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            listener.error = error
        finally:
            listener.ended.set()
            ready.set()

    thread = threading.Thread(target=run, name="forwarding", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield listener
    finally:
        block_ended.set()
        thread.join()
    if listener.error is not None:
        raise listener.error


class _EitherEvent(threading.Event):
    """An event that is also set if another is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.other = other

    def is_set(self) -> bool:
        """Tell whether one of the two is set."""
        return self.other.is_set() or super().is_set()


class Forwarder:
    """An ASGI application that passes requests on, and their answers back as they arrive."""

    def __init__(self, server: ForwardedServer) -> None:
        import httpx2

        self.limits = server
        # A connection for each request: the program keeps a thread for each open one.
        transport = httpx2.AsyncHTTPTransport(
            uds=str(server.socket),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self.client = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            trust_env=False,
            follow_redirects=False,
        )
        self.unanswered = 0
        """Requests for answers that are running or waiting."""
        self._slots = asyncio.Semaphore(server.slots)
        self._is_closing = threading.Event()

    def drain(self) -> None:
        """Take no more requests, and wait for the running ones for as long as they may take."""
        self._is_closing.set()
        pause = threading.Event()
        for _ in range(round(DRAIN_S / POLL_S)):
            if not self.unanswered:
                return
            pause.wait(POLL_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; end it if its client disconnects."""
        try:
            body = await _body_of(receive)
            if body is None:
                return
            if scope["method"] == "POST":
                await _require_shallow(body)
            with self._counted(scope):
                await _until_disconnected(self._answer(scope, body, send), receive)
        except ApiError as error:
            await refuse(error, send)

    @contextlib.contextmanager
    def _counted(self, scope: Scope) -> Iterator[None]:
        """Count a request for an answer; raise ApiError if too many wait, or the server stops."""
        if scope["method"] != "POST":
            yield
            return
        if self._is_closing.is_set():
            raise closing()
        waiting = self.unanswered - self.limits.slots
        if waiting >= self.limits.queue:
            raise busy(waiting, RETRY_AFTER_S)
        self.unanswered += 1
        try:
            yield
        finally:
            self.unanswered -= 1

    async def _answer(self, scope: Scope, body: bytes, send: Send) -> None:
        is_post = scope["method"] == "POST"
        async with self._slots if is_post else contextlib.nullcontext():
            await self._pass_on(scope, body, send)

    async def _pass_on(self, scope: Scope, body: bytes, send: Send) -> None:
        import httpx2

        has_begun = False
        try:
            request = self._request(scope, body)
            response = await self.client.send(request, stream=True)
            async with contextlib.aclosing(response):
                await send(_start_of(response))
                has_begun = True
                async for part in response.aiter_raw():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except (httpx2.InvalidURL, UnicodeError):
            raise ApiError(400, "the path of the request is malformed") from None
        except httpx2.HTTPError:
            if not has_begun:
                raise _silent() from None
            # Without its end, clients see that the answer is broken off.

    def _request(self, scope: Scope, body: bytes) -> httpx2.Request:
        import httpx2

        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        url = httpx2.URL("http://localhost").copy_with(raw_path=target)
        headers = [(name, value) for name, value in scope["headers"] if name not in NOT_FORWARDED]
        content = body if body or scope["method"] == "POST" else None
        # Without the defaults of a client, such as a compression that was not asked for.
        return httpx2.Request(
            scope["method"], url, headers=[(b"host", b"localhost"), *headers], content=content
        )


def _silent() -> ApiError:
    return ApiError(503, "the server does not answer: it is starting or ending", code="silent")


async def _body_of(receive: Receive) -> bytes | None:
    """Return the body of a request, whose size is checked before; None if the client is gone."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _require_shallow(body: bytes) -> None:
    """Raise ApiError for a body other than a JSON object, or with values that are too deep."""
    if len(body) <= SMALL_BODY:
        content = parse_body(body)
    else:
        content = await asyncio.to_thread(parse_body, body)
    grammar = content.get("grammar")
    if isinstance(grammar, str) and _levels(grammar) > MAX_GROUPS:
        message = f"grammar: its groups are nested more than {MAX_GROUPS} levels deep"
        raise ApiError(400, message, param="grammar")


def _levels(grammar: str) -> int:
    """Return how deep brackets are nested, those in literals included."""
    if grammar.count("(") <= MAX_GROUPS:
        return 0
    steps = (1 if bracket == "(" else -1 for bracket in re.findall("[()]", grammar))
    return max(accumulate(steps))


async def _until_disconnected(answer: Any, receive: Receive) -> None:
    """Run a coroutine; cancel it as soon as the client disconnects."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answering = asyncio.ensure_future(answer)
    watching = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


def _start_of(response: httpx2.Response) -> dict[str, Any]:
    headers = [
        (name.lower(), value)
        for name, value in response.headers.raw
        if name.lower() not in NOT_RETURNED and not name.lower().startswith(CORS)
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
