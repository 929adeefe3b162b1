"""A transport of `requests` that gives a token to one server only.

The SDK of ModelScope sends its token as a header and as a cookie. `requests` keeps cookies when a
redirect leads to another port or to http, and adds what ~/.netrc has for any host, its default
entry included.
"""

from __future__ import annotations

from typing import Any

from requests.adapters import BaseAdapter

from swiftbox.security.secrets import origin


class OwnOriginAdapter(BaseAdapter):
    """Sends credentials to the origin of `endpoint`, if there is a token, and to nobody else."""

    def __init__(self, transport: BaseAdapter, endpoint: str, token: str | None) -> None:
        super().__init__()
        self._transport, self._origin, self._token = transport, origin(endpoint), token

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        """Send a request, without credentials if it goes to another server."""
        is_own = bool(self._token) and origin(request.url) == self._origin
        if not is_own:
            request.headers.pop("Cookie", None)
            request.headers.pop("Authorization", None)
        elif request.headers.get("Authorization", "").startswith("Basic "):  # from ~/.netrc
            request.headers["Authorization"] = f"Bearer {self._token}"
        return self._transport.send(request, *arguments, **options)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def restrict_credentials(session: Any, endpoint: str, token: str | None) -> None:
    """Let a session send credentials to the endpoint only; without a token, to nobody."""
    for prefix, transport in list(session.adapters.items()):
        session.mount(prefix, OwnOriginAdapter(transport, endpoint, token))
