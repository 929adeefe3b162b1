"""Checks of every request: the key and the size of the body, with uniform refusals."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from swiftbox.serving.api_errors import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""Paths without confidential content, for monitoring that has no key."""


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: App, *, key: str | None, largest_body: int) -> None:
        self.app = app
        self.key = key.encode() if key is not None else None
        self.largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it with the reason."""
        if scope["type"] != "http":
            return
        try:
            self._require_key(scope)
            self._require_size(_header(scope, b"content-length"))
        except ApiError as error:
            await refuse(error, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _require_key(self, scope: Scope) -> None:
        if self.key is None or scope["path"] in OPEN:
            return
        kind, _, key = _header(scope, b"authorization").partition(b" ")
        is_valid = hmac.compare_digest(key.strip(), self.key)
        if kind.lower() != b"bearer" or not is_valid:
            error = ApiError(401, "a valid API key is required", code="invalid_api_key")
            error.headers = {"WWW-Authenticate": "Bearer"}
            raise error

    def _require_size(self, length: bytes) -> None:
        if length.isdigit() and int(length) > self.largest_body:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        error = ApiError(413, f"the body is larger than {self.largest_body:,} bytes")
        error.headers = {"Connection": "close"}
        return error

    def _counted(self, receive: Receive) -> Receive:
        """Count the bytes of a body whose length is unknown."""
        received = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.largest_body:
                    raise self._too_large()
            return message

        return counted


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


async def refuse(error: ApiError, send: Send) -> None:
    """Answer with an error."""
    import json

    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
