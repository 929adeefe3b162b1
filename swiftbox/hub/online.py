"""Search on a hub over plain HTTP within five seconds; a failure becomes a message."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from swiftbox.hub.answers import MALFORMED, content_of
from swiftbox.hub.reach import endpoints_of, reachable
from swiftbox.language import text

TIMEOUT_S = 2.0
"""With the probe of the endpoints (2.5 s) an answer without network takes less than 5 s."""

PAGE_SIZE = 30


@dataclass(frozen=True)
class SearchHit:
    """One model or dataset as a hub lists it."""

    id: str
    hub: str
    downloads: int | None
    license: str | None
    size_bytes: int | None
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class SearchResult:
    """What a hub listed, or one line on why it listed nothing."""

    hits: tuple[SearchHit, ...]
    hub: str | None
    problem: str = ""


def search(query: str, *, kind: str = "models", limit: int = PAGE_SIZE) -> SearchResult:
    """Search ModelScope, else Hugging Face; `kind` is models or datasets. Never raises."""
    routes = [(hub, endpoint) for hub in HUBS for endpoint in endpoints_of(hub)]
    answering = set(reachable([endpoint for _, endpoint in routes]))
    for hub, endpoint in routes:
        if endpoint in answering:
            return _request(hub, endpoint, urlencode(_parameters(hub, query, limit)), kind)
    hosts = ", ".join(endpoint.partition("://")[2] for _, endpoint in routes)
    problem = text(
        f"no network: {hosts} do not answer; these results are from the catalogue only",
        f"没有网络：{hosts} 无响应；以下仅来自离线目录",
    )
    return SearchResult((), None, problem)


def _request(hub: str, endpoint: str, parameters: str, kind: str) -> SearchResult:
    """Search one hub; an unusable answer becomes the result's problem."""
    path, read_hits = HUBS[hub]
    url = f"{endpoint}{path}/{kind}?{parameters}"
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            content = content_of(response, within_s=TIMEOUT_S)
            return SearchResult(tuple(read_hits(json.loads(content), kind)), hub)
    except (OSError, http.client.HTTPException, *MALFORMED) as error:
        cause = f"{endpoint}: {error or type(error).__name__}"
        problem = text(
            f"the hub's answer cannot be used ({cause}); these results are from the catalogue only",
            f"社区返回无法使用（{cause}）；以下仅来自离线目录",
        )
        return SearchResult((), None, problem)


def _parameters(hub: str, query: str, limit: int) -> dict[str, object]:
    if hub == "modelscope":
        return {"search": query, "sort": "downloads", "page_number": 1, "page_size": limit}
    return {"search": query, "sort": "downloads", "limit": limit}


def _modelscope_hits(answer: Any, kind: str) -> Iterable[SearchHit]:
    if not isinstance(answer, dict) or not answer.get("success", True):
        raise ValueError(str(answer)[:80])
    return [
        SearchHit(
            id=str(row["id"]),
            hub="modelscope",
            downloads=_integer(row.get("downloads")),
            license=str(row["license"]) if row.get("license") else None,
            size_bytes=_integer(row.get("file_size")),
            tasks=tuple(map(str, row.get("tasks") or ())),
        )
        for row in answer["data"][kind]
    ]


def _huggingface_hits(answer: Any, kind: str) -> Iterable[SearchHit]:  # noqa: ARG001 - one shape for both
    return [
        SearchHit(
            id=str(row["id"]),
            hub="huggingface",
            downloads=_integer(row.get("downloads")),
            license=_license_of(row.get("tags") or ()),
            size_bytes=None,
            tasks=tuple(str(row[key]) for key in ("pipeline_tag",) if row.get(key)),
        )
        for row in answer
    ]


HUBS: Mapping[str, tuple[str, Callable[[Any, str], Iterable[SearchHit]]]] = {
    "modelscope": ("/openapi/v1", _modelscope_hits),
    "huggingface": ("/api", _huggingface_hits),
}


def _license_of(tags: Iterable[str]) -> str | None:
    licenses = (tag.partition(":")[2] for tag in tags if tag.startswith("license:"))
    return next(licenses, None)


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
