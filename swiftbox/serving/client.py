"""Talk to an OpenAI-compatible server: ask how it is, ask for an answer, read one as it comes."""

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

QUICK_S = 0.8
LOOPBACK = ("localhost", "::1")


class Refused(Exception):
    """A server that did not do what was asked: its status (0: it was not reached), its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, and the key it wants."""

    url: str
    """Without /v1."""
    key: str | None = None
    timeout_s: float = 600.0
    """Without a byte; the first words of a long prompt on a processor take minutes."""

    @classmethod
    def at(cls, url: str, key: str | None = None) -> Endpoint:
        """Return the endpoint of a URL as people write it: with /v1 or without, with a scheme."""
        url = url.strip().rstrip("/")
        if "://" not in url:
            url = f"http://{url}"
        return cls(url.removesuffix("/v1").rstrip("/"), key)

    @property
    def is_local(self) -> bool:
        """Tell whether it is on this machine: no proxy stands before it."""
        host = urlsplit(self.url).hostname or ""
        return host in LOOPBACK or host.startswith("127.")

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON of an answer; POST a body, GET without. Raises Refused."""
        with self._opened(path, body) as said:
            try:
                found = json.loads(said.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Refused(0, f"{self.url}: {error}") from None
        return found if isinstance(found, dict) else {"data": found}

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the events of an answer as they come; closing the iterator ends the request."""
        with self._opened(path, {**body, "stream": True}) as said:
            try:
                for line in said:
                    words = line.strip()
                    if not words.startswith(b"data:"):
                        continue
                    content = words[len(b"data:") :].strip()
                    if content == b"[DONE]":
                        return
                    found = json.loads(content)
                    if "error" in found:
                        raise Refused(500, _message(found, str(found["error"])))
                    yield found
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Refused(0, f"{self.url}: {error}") from None

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
            found = urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, _said(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", error)
            raise Refused(0, f"{self.url}: {why}") from None
        with found:
            yield found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the key is for the server that was named."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def _said(error: urllib.error.HTTPError) -> str:
    raw = error.read()[:4096]
    try:
        return _message(json.loads(raw), str(error))
    except ValueError:
        return str(error)


def _message(said: Any, otherwise: str) -> str:
    """Return the words of an error as OpenAI writes it, and as others do."""
    found = said.get("error", said) if isinstance(said, dict) else None
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail")
    return found if isinstance(found, str) and found else otherwise


def health(url: str, timeout_s: float = QUICK_S) -> str:
    """Return ok, or in a word what is wrong: failed, silent."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=timeout_s) as said:
            return "ok" if said.status == 200 else "failed"
    except urllib.error.HTTPError:
        return "failed"
    except (OSError, http.client.HTTPException):
        return "silent"


def healths(urls: Sequence[str], within_s: float = QUICK_S) -> list[str]:
    """Ask several servers at once; all answers together take no longer than `within_s`."""
    found: list[str] = ["silent"] * len(urls)

    def ask(at: int) -> None:
        found[at] = health(urls[at], within_s)

    threads = [threading.Thread(target=ask, args=(at,), daemon=True) for at in range(len(urls))]
    for one in threads:
        one.start()
    until = time.monotonic() + within_s
    for one in threads:
        one.join(max(0.0, until - time.monotonic()))
    return list(found)
