"""What stands before every request: the key, the size of the body, and one shape of refusals."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from swiftbox.serving.problems import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""Paths that say nothing worth a key; those who watch the server have none."""


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: App, *, key: str | None, largest_body: int) -> None:
        self.app = app
        self.key = key.encode() if key is not None else None
        self.largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] != "http":
            return
        try:
            self._require_key(scope)
            self._require_size(_header(scope, b"content-length"))
        except Problem as problem:
            await refuse(problem, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _require_key(self, scope: Scope) -> None:
        if self.key is None or scope["path"] in OPEN:
            return
        kind, _, given = _header(scope, b"authorization").partition(b" ")
        right = hmac.compare_digest(given.strip(), self.key)
        if kind.lower() != b"bearer" or not right:
            found = Problem(401, "a valid API key is needed", code="invalid_api_key")
            found.headers = {"WWW-Authenticate": "Bearer"}
            raise found

    def _require_size(self, length: bytes) -> None:
        if length.isdigit() and int(length) > self.largest_body:
            raise self._too_large()

    def _too_large(self) -> Problem:
        found = Problem(413, f"the body is larger than {self.largest_body:,} bytes")
        found.headers = {"Connection": "close"}
        return found

    def _counted(self, receive: Receive) -> Receive:
        """Count a body that comes without its length."""
        seen = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self.largest_body:
                    raise self._too_large()
            return message

        return counted


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


async def refuse(problem: Problem, send: Send) -> None:
    """Answer with a problem."""
    import json

    body = json.dumps(problem.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
