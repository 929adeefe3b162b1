"""Paths that this server does not have, and what their clients should use."""

from __future__ import annotations

import re
from collections.abc import Mapping

from swiftbox.serving.api_errors import ApiError

CHAT = "/v1/chat/completions"

SERVED = ("/chat/completions", "/completions", "/models")
"""Paths below `/v1` that clients ask for without it, or with it twice."""

OTHER_APIS: Mapping[str, str] = {
    "/responses": f"use {CHAT}",
    "/messages": f"use {CHAT}",
    "/embeddings": "this server generates text, and has no embeddings",
    "/rerank": "this server generates text, and has no reranking",
    "/score": "this server generates text, and has no scores",
    "/moderations": "there is no moderation",
    "/audio": "this server generates text only",
    "/images": "this server generates text only",
    "/files": "no files are stored",
    "/batches": f"send the requests to {CHAT}",
    "/api": f"that is Ollama's API; use {CHAT}",
}
"""Beginnings of paths of other APIs."""


def unknown_path(path: str) -> ApiError:
    """Return the error of a request for a path that does not exist, with what to use."""
    below = re.sub(r"^(/v1)*", "", path.rstrip("/"))
    if below in SERVED:
        return ApiError(404, f"unknown path: {path}; use /v1{below}: base URLs end with /v1")
    reason = OTHER_APIS.get("/".join(below.split("/")[:2]))
    return ApiError(404, f"unknown path: {path}" + (f"; {reason}" if reason else ""))
