"""Checks of every request: host, key and the size of the body, with uniform refusals.

A server that only this machine can reach is still reachable from a page in its user's browser:
by DNS rebinding (a name of the attacker that resolves to 127.0.0.1) the page counts as the same
site. Such a request has the attacker's name in `Host`, and other pages have theirs in `Origin`.
"""

from __future__ import annotations

import hmac
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware

from swiftbox.security.secrets import is_loopback
from swiftbox.serving.api_errors import ApiError, too_many_bodies
from swiftbox.serving.asgi import App, Receive, Scope, Send
from swiftbox.serving.chat_page import PAGE_FILES

OPEN = frozenset({"/health", *PAGE_FILES})
"""Paths without confidential content: for monitoring, and the page that asks for the key."""

LARGEST_BODY = 4 * 2**20
"""The limit of a request's body in bytes: a million tokens of text."""

BODIES_AT_ONCE = 16
"""The largest bodies that are kept together; they are small unless somebody attacks."""


@dataclass(frozen=True)
class AccessRules:
    """Who may use a server, and for how much."""

    key: str | None
    largest_body: int
    """The limit of a request's body in bytes."""
    only_local: bool = False
    """Requests must name this machine as their host, and pages of other sites are refused."""
    allowed_origins: Sequence[str] = ()
    """Origins of pages that may send requests; "*" stands for all."""


def guarded(app: App, access: AccessRules) -> App:
    """Return an application behind its checks; pages of allowed origins may read its answers."""
    guard: App = Guard(app, access)
    if not access.allowed_origins:
        return guard
    return CORSMiddleware(
        guard,
        allow_origins=access.allowed_origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
    )


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: App, access: AccessRules) -> None:
        self.app = app
        self.key = access.key.encode() if access.key is not None else None
        self.largest_body = access.largest_body
        self.only_local = access.only_local
        self.allowed_origins = frozenset(access.allowed_origins)
        self._kept = 0
        """Bytes of all bodies that are being received or answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it with the reason."""
        if scope["type"] != "http":
            return
        try:
            self._require_local(scope)
            self._require_key(scope)
            self._require_size(scope)
        except ApiError as error:
            await refuse(error, send)
            return
        body = _ReceivedBytes()
        try:
            await self.app(_without_head(scope), self._counted(receive, body), send)
        finally:
            self._kept -= body.count

    def _require_local(self, scope: Scope) -> None:
        if not self.only_local:
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if not all(is_loopback(_host_name(b"//" + host)) for host in hosts):
            raise ApiError(
                421,
                "this server answers requests to localhost only: the Host header must be "
                "localhost or 127.0.0.1 (a proxy in front has to set it)",
                code="wrong_host",
            )
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if not all(self._is_allowed(origin) for origin in origins):
            raise ApiError(
                403,
                "this server does not answer pages of other sites (Origin header)",
                code="wrong_origin",
            )

    def _is_allowed(self, origin: bytes) -> bool:
        names = self.allowed_origins
        return is_loopback(_host_name(origin)) or "*" in names or origin.decode("latin-1") in names

    def _require_key(self, scope: Scope) -> None:
        is_open = scope["path"] in OPEN and scope["method"] in ("GET", "HEAD")
        if self.key is None or is_open:
            return
        kind, _, key = _header(scope, b"authorization").partition(b" ")
        is_valid = hmac.compare_digest(key.strip(), self.key)
        if kind.lower() != b"bearer" or not is_valid:
            error = ApiError(401, "a valid API key is required", code="invalid_api_key")
            error.headers = {"WWW-Authenticate": "Bearer"}
            raise error

    def _require_size(self, scope: Scope) -> None:
        length = _header(scope, b"content-length")
        if length and _header(scope, b"transfer-encoding"):
            # A proxy in front may believe the other header, and see another request.
            error = ApiError(400, "set either Content-Length or Transfer-Encoding")
            error.headers = {"Connection": "close"}
            raise error
        if length.isdigit() and int(length) > self.largest_body:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        error = ApiError(413, f"the body is larger than {self.largest_body:,} bytes")
        error.headers = {"Connection": "close"}
        return error

    def _counted(self, receive: Receive, body: _ReceivedBytes) -> Receive:
        """Count the bytes of a body whose length is unknown, and those of all bodies."""

        async def counted() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.request":
                count = len(message.get("body", b""))
                body.count += count
                self._kept += count
                if body.count > self.largest_body:
                    raise self._too_large()
                if self._kept > BODIES_AT_ONCE * self.largest_body:
                    raise too_many_bodies()
            return message

        return counted


@dataclass
class _ReceivedBytes:
    count: int = 0


def _without_head(scope: Scope) -> Scope:
    """Return a request for headers as one for their content, which the connection leaves out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _host_name(url: bytes) -> str:
    """Return the host of a URL without port and brackets; empty if there is none."""
    try:
        return (urlsplit(url.decode("ascii")).hostname or "").removesuffix(".")
    except ValueError:  # no ASCII, or a wrong bracket
        return ""


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
