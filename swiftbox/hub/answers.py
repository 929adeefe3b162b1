"""Answers of a hub, which may be malformed, endless or slow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import http.client

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises that is not of the expected form, such as an infinite size."""

LARGEST_ANSWER = 8 * 2**20
"""Bytes; a page of results has up to 200,000."""

READ_BYTES = 2**16


def content_of(response: http.client.HTTPResponse, *, within_s: float) -> bytes:
    """Read an answer; raise OSError or ValueError if it is too slow or too long."""
    content, deadline = bytearray(), time.monotonic() + within_s
    while part := response.read1(READ_BYTES):
        content += part
        if len(content) > LARGEST_ANSWER:
            raise ValueError(f"more than {LARGEST_ANSWER:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(content)
