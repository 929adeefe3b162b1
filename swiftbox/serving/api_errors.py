"""Errors of the API: an HTTP status and a body in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.core.generation.requests import DEVICE_FAILURE, GRAMMAR_FAILURE, OUT_OF_MEMORY

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    421: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}


class ApiError(Exception):
    """A refused request, with the parameter that caused it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _sendable(message)
        self.param = None if param is None else _sendable(param)
        self.code = code
        self.headers: Mapping[str, str] = {}

    def body(self) -> dict[str, Any]:
        """Return the error in OpenAI's format."""
        kind = KINDS.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


LONGEST_MESSAGE = 1000
"""Characters; what a client sends may be quoted, but not sent back in full."""


def _sendable(message: str) -> str:
    """Return a message that is short, and that UTF-8 can encode."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]} ..."
    return message.encode("utf-8", "backslashreplace").decode("utf-8")


def busy(waiting: int, retry_after_s: int) -> ApiError:
    """Return the error of a request that finds the queue full."""
    error = ApiError(429, f"{waiting} requests are waiting; try again later", code="queue_full")
    error.headers = {"Retry-After": str(retry_after_s)}
    return error


def closing() -> ApiError:
    """Return the error of a request that arrives while the server stops."""
    return ApiError(503, "the server is stopping", code="stopping")


def failed(error: str) -> ApiError:
    """Return the error of an answer that the scheduler ended with that error."""
    if error == OUT_OF_MEMORY:
        return ApiError(
            503,
            "the answer does not fit in the memory of the device, even alone; "
            "send a shorter prompt or a smaller max_tokens",
            code=OUT_OF_MEMORY,
        )
    if error == DEVICE_FAILURE:
        return ApiError(503, "the device failed; the server is ending", code=DEVICE_FAILURE)
    if error == GRAMMAR_FAILURE:
        return ApiError(400, "the schema is too complex to be followed", code=GRAMMAR_FAILURE)
    return ApiError(500, f"the answer could not be generated ({error})")


def too_many_bodies() -> ApiError:
    """Return the error of a body that arrives while large bodies fill the memory for them."""
    error = ApiError(503, "too many large requests at once; try again later", code="busy")
    error.headers = {"Retry-After": "5", "Connection": "close"}
    return error
