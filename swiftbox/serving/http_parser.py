"""An HTTP/1.1 parser with limits on the number of headers and chunks.

The parser takes microseconds for each of them, and it runs on the event loop: a client that sends
hundreds of thousands of tiny parts in one packet would stop the server for seconds.
"""

from __future__ import annotations

from typing import Any

import h11

MAX_HEADER_BYTES = 2**15
"""The headers of a request; proxies usually allow as much."""

MAX_HEADERS = 200
"""Lines; usual requests have about ten, behind proxies thirty."""

FREE_CHUNKS = 1000
"""Chunks of a body that may have any size."""

MEAN_CHUNK_BYTES = 64
"""The mean size of further chunks; clients usually send thousands of bytes at once."""


class LimitedParser(h11.Connection):
    """A parser for a server that refuses a request of too many parts as malformed."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._chunks = 0
        self._body_bytes = 0

    def next_event(self) -> Any:
        """Return the next event; raise h11.RemoteProtocolError for a malformed request."""
        if self.their_state is h11.IDLE:
            self._require_few_headers()
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunks += 1
            self._body_bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._body_bytes // MEAN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        elif isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
        return event

    def _require_few_headers(self) -> None:
        """Count the lines up to the first empty one."""
        received = self.trailing_data[0]
        if received.count(b"\n") <= MAX_HEADERS:
            return
        headers = received.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        if headers.count(b"\n") > MAX_HEADERS:
            raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
