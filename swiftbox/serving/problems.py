"""What a request is refused with: a status and an error in the shape OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}


class Problem(Exception):  # one word for what is wrong, by HTTP status
    """A request that is refused, with the parameter that is to blame."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers: Mapping[str, str] = {}

    def body(self) -> dict[str, Any]:
        """Return the error as OpenAI writes it."""
        kind = KINDS.get(self.status, "invalid_request_error")
        said = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": said}


def busy(waiting: int, retry_after_s: int) -> Problem:
    """Return the refusal of a request that finds the queue full."""
    found = Problem(429, f"{waiting} requests are waiting; try again later", code="queue_full")
    found.headers = {"Retry-After": str(retry_after_s)}
    return found


def closing() -> Problem:
    """Return the refusal of a request that comes while the server stops."""
    return Problem(503, "the server is stopping", code="stopping")
