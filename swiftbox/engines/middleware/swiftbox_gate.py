"""The checks in front of vLLM: host, origin and key; vLLM imports it from its folder.

vLLM itself checks no Host header, and its key only for some paths: /invocations, which answers as
/v1 does, and the routes beside it are open to everybody.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "VLLM_API_KEY"
ONLY_LOCAL = "SWIFTBOX_ONLY_LOCAL"
"""Set to 1 if only this machine may send requests."""

ORIGINS = "SWIFTBOX_ALLOWED_ORIGINS"
"""A JSON list."""

OPEN = ("/health", "/ping")
"""Paths without confidential content, for monitoring that has no key."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
WRONG_HOST, WRONG_ORIGIN, WRONG_KEY = 421, 403, 401
POLICY_VIOLATION = 1008
"""The code with which a WebSocket is closed."""


class Gate:
    """An ASGI application in front of vLLM's."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.key = os.environ.get(KEY, "").encode()
        self.only_local = os.environ.get(ONLY_LOCAL) == "1"
        self.origins = frozenset(json.loads(os.environ.get(ORIGINS, "[]")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it with the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        status, reason = self._fault(scope)
        if not status:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(status, reason, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})

    def _fault(self, scope: Scope) -> tuple[int, str]:
        """Return the status and the reason of a refusal; 0 for none."""
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if self.only_local and not all(_is_loopback(f"//{host}") for host in hosts):
            return WRONG_HOST, "this server answers requests to localhost only (Host header)"
        if self.only_local and not all(map(self._may_ask, origins)):
            return WRONG_ORIGIN, "this server does not answer pages of other sites (Origin header)"
        # A page asks with OPTIONS, without a key, what it may send.
        is_open = scope["path"] in OPEN or scope.get("method") == "OPTIONS"
        if not self.key or is_open or self._has_key(scope):
            return 0, ""
        return WRONG_KEY, "a valid API key is required"

    def _may_ask(self, origin: str) -> bool:
        return _is_loopback(origin) or "*" in self.origins or origin in self.origins

    def _has_key(self, scope: Scope) -> bool:
        values = _values(scope, b"authorization")
        kind, _, key = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        is_same = hmac.compare_digest(key.strip().encode("latin-1"), self.key)
        return kind.lower() == "bearer" and is_same


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _is_loopback(address: str) -> bool:
    """Judge a host as the guard of the other servers does, which cannot be imported here."""
    try:
        host = (urlsplit(address).hostname or "").removesuffix(".")
    except ValueError:
        return False
    parts = host.split(".")
    is_ipv4 = len(parts) == 4 and all(part.isascii() and part.isdecimal() for part in parts)
    return host in LOOPBACK or (is_ipv4 and parts[0] == "127")


async def _refuse(status: int, reason: str, send: Send) -> None:
    body = json.dumps({"error": {"message": reason, "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == WRONG_KEY:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
