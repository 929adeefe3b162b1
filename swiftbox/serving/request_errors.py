"""What is wrong with the values of a request, in the words of this API.

pydantic's messages name its own classes and the branches of its unions; clients see neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from swiftbox.serving.api_errors import ApiError

REPORTED = 5
"""Problems of one request that are named."""

QUOTED_CHARACTERS = 40
"""The longest value that is quoted."""

EXPECTED: Mapping[str, str] = {
    "stop": "should be a text or a list of at most 16 texts, each of 1 to 1000 characters",
    "prompt": "should be a text, a list of texts, a list of token ids, or a list of such lists",
    "content": "should be a text or a list of parts",
    "tool_choice": "should be a text or an object",
}
"""Values of several kinds: the kinds, since a client may have meant any of them."""

PROBLEMS: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a known parameter",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be at most {le}",
    "finite_number": "should be a finite number",
    "string_too_short": "should have at least {min_length} characters",
    "string_too_long": "should have at most {max_length} characters",
    "too_short": "should have at least {min_length} entries",
    "too_long": "should have at most {max_length} entries",
    "literal_error": "should be {expected}",
}
"""Problems by pydantic's types; those that are not listed are named by their first word."""

KINDS: Mapping[str, str] = {
    "string": "should be a text",
    "int": "should be an integer",
    "float": "should be a number",
    "bool": "should be true or false",
    "list": "should be a list",
    "dict": "should be an object",
    "model": "should be an object",
}


def invalid_request(error: ValidationError) -> ApiError:
    """Return the refusal of a request whose values are wrong."""
    problems = error.errors(include_url=False)
    lines = dict.fromkeys(_line(problem) for problem in problems)
    param = str(problems[0]["loc"][0]) if problems[0]["loc"] else None
    return ApiError(400, "; ".join(list(lines)[:REPORTED]), param=param)


def _line(problem: Any) -> str:
    """Return the place of a problem and what is wrong there."""
    path, mixed = "", ""
    for part in problem["loc"]:
        if part == "[key]":
            return f"{path}: the keys should be token ids"
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        if part in EXPECTED:
            mixed = str(part)
            break
    if mixed and problem["type"] != "missing":
        return f"{path}: {EXPECTED[mixed]}"
    return f"{path or 'the body'}: {_what(problem)}"


def _what(problem: Any) -> str:
    kind = str(problem["type"])
    template = PROBLEMS.get(kind) or KINDS.get(kind.partition("_")[0], "is not valid")
    limits = {name: _plain(limit) for name, limit in problem.get("ctx", {}).items()}
    what = template.format(**limits)
    value = problem.get("input")
    if kind in ("missing", "extra_forbidden") or not isinstance(value, str | int | float | None):
        return what
    quoted = _quoted(value)
    return f"{what} (got {quoted})" if len(quoted) <= QUOTED_CHARACTERS else what


def _plain(limit: Any) -> Any:
    """Return a limit as people write it: 2, not 2.0."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _quoted(value: str | float | None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except ValueError:  # an integer with more digits than Python writes
        return "a very large number"
