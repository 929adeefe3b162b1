"""A client of OpenAI-compatible servers: health, requests, and streamed answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from swiftbox.security.secrets import is_loopback

QUICK_S = 0.8


class RequestRefused(Exception):
    """A request that a server refused, with its status (0: unreachable) and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Endpoint:
    """The URL of a server, and its key."""

    url: str
    """The URL, without /v1."""
    key: str | None = None
    timeout_s: float = 600.0
    """The longest time without a byte; the first token of a long prompt takes minutes on a CPU."""

    @classmethod
    def at(cls, url: str, key: str | None = None) -> Endpoint:
        """Return the endpoint of a URL with or without a scheme and /v1."""
        url = url.strip().rstrip("/")
        if "://" not in url:
            url = f"http://{url}"
        return cls(url.removesuffix("/v1").rstrip("/"), key)

    @property
    def is_local(self) -> bool:
        """Tell whether it is on this machine, where no proxy is used."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON of a response: POST with a body, else GET. Raises RequestRefused."""
        with self._opened(path, body) as response:
            try:
                content = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise RequestRefused(0, f"{self.url}: {error}") from None
        return content if isinstance(content, dict) else {"data": content}

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the events of an answer as they arrive; closing the iterator ends the request."""
        with self._opened(path, {**body, "stream": True}) as response:
            try:
                for line in response:
                    stripped = line.strip()
                    if not stripped.startswith(b"data:"):
                        continue
                    content = stripped[len(b"data:") :].strip()
                    if content == b"[DONE]":
                        return
                    event = json.loads(content)
                    if "error" in event:
                        raise RequestRefused(500, _message(event, str(event["error"])))
                    yield event
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise RequestRefused(0, f"{self.url}: {error}") from None

    @contextlib.contextmanager
    def _opened(self, path: str, body: Mapping[str, Any] | None) -> Iterator[Any]:
        handlers: list[Any] = [_NoRedirect()]
        if self.is_local:
            handlers.append(urllib.request.ProxyHandler({}))
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            response = urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise RequestRefused(error.code, _error_message(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", error)
            raise RequestRefused(0, f"{self.url}: {why}") from None
        with response:
            yield response


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key belongs to the named server only."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse the redirect."""


def _error_message(error: urllib.error.HTTPError) -> str:
    raw = error.read()[:4096]
    try:
        return _message(json.loads(raw), str(error))
    except ValueError:
        return str(error)


def _message(content: Any, otherwise: str) -> str:
    """Return the message of an error in the format of OpenAI or of other servers."""
    error = content.get("error", content) if isinstance(content, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return error if isinstance(error, str) and error else otherwise


def health(url: str, timeout_s: float = QUICK_S) -> str:
    """Return ok, failed or silent."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=timeout_s) as response:
            return "ok" if response.status == 200 else "failed"
    except urllib.error.HTTPError:
        return "failed"
    except (OSError, http.client.HTTPException):
        return "silent"


def health_of_all(urls: Sequence[str], within_s: float = QUICK_S) -> list[str]:
    """Return the health of several servers, asked at once within `within_s`."""
    states: list[str] = ["silent"] * len(urls)

    def ask(index: int) -> None:
        states[index] = health(urls[index], within_s)

    threads = [
        threading.Thread(target=ask, args=(index,), daemon=True) for index in range(len(urls))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(states)
