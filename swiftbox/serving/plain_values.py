"""Limits on the values of a request's JSON, checked before anything walks through them again.

Later stages recurse (the template, JSON again) or take time and memory for each value, and a body
of 4 MiB can hold a million values, or a thousand levels.
"""

from __future__ import annotations

import json
from typing import Any

from swiftbox.serving.api_errors import ApiError

SMALL_BODY = 64 * 2**10
"""Bytes; a larger body is parsed beside the event loop, which serves others meanwhile."""

MAX_DEPTH = 64
"""Levels; JSON schemas of tools have about ten."""

MAX_VALUES = 300_000
"""Values of a body; the longest prompts in token ids have nearly as many."""

MAX_SEPARATORS = 1_000_000
"""Commas and brackets, in strings too: counting them is quick, and parsing that many is not."""


class LimitExceeded(ValueError):
    """JSON that is valid but too deep, too long, or not text."""


def parse_body(raw: bytes) -> dict[str, Any]:
    """Parse the JSON object of a request within the limits; raise ApiError with the reason."""
    try:
        content = parse_json(raw)
    except LimitExceeded as error:
        raise ApiError(400, f"the body is not JSON that this server accepts: {error}") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise ApiError(400, "the body should be a JSON object")
    return content


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON within the limits; raise ValueError with the reason."""
    encoded = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if sum(map(encoded.count, (b",", b"[", b"{"))) > MAX_SEPARATORS:
        raise _too_many()
    try:
        content = json.loads(raw)
    except RecursionError:
        raise LimitExceeded(_too_deep()) from None
    require_plain(content)
    return content


def require_plain(content: Any) -> None:
    """Raise LimitExceeded for values that are too deep, too many, or no text."""
    level, depth, count = [content], 0, 0
    while level:
        if depth > MAX_DEPTH:
            raise LimitExceeded(_too_deep())
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _require_text(value)
            elif isinstance(value, dict):
                for key in value:
                    _require_text(key)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        count += len(below)
        if count > MAX_VALUES:
            raise _too_many()
        level, depth = below, depth + 1


def _too_many() -> LimitExceeded:
    return LimitExceeded(f"it has more than {MAX_VALUES:,} values")


def _too_deep() -> str:
    return f"it is nested more than {MAX_DEPTH} levels deep"


def _require_text(value: str) -> None:
    """Raise LimitExceeded for a surrogate without its other half, which UTF-8 cannot encode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise LimitExceeded("a string has half of a surrogate pair") from None
