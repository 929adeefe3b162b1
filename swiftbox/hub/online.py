"""Search of a hub over the network: what the catalogue does not have, downloads and licences.

Asked over plain HTTP, since loading a hub's SDK (3 s) takes longer than the answer.
ModelScope: GET /openapi/v1/models?search=&sort=downloads&page_number=&page_size=
Hugging Face: GET /api/models?search=&sort=downloads&limit=
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from swiftbox.hub.reach import endpoints_of, reachable
from swiftbox.language import text

TIMEOUT_S = 2.0
"""With the time to reach a hub (2.5 s) an offline answer stays under five seconds."""

MOST = 30
"""Rows asked for: one page."""


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
    """What a hub listed, or in a line why there is none."""

    hits: tuple[SearchHit, ...]
    hub: str | None
    problem: str = ""


def search(query: str, *, kind: str = "models", most: int = MOST) -> SearchResult:
    """Ask ModelScope, else Hugging Face; `kind` is models or datasets. Never raises."""
    places = [(hub, one) for hub in HUBS for one in endpoints_of(hub)]
    answering = set(reachable([one for _, one in places]))
    for hub, endpoint in places:
        if endpoint in answering:
            return _asked(hub, endpoint, urlencode(_parameters(hub, query, most)), kind)
    hosts = ", ".join(one.partition("://")[2] for _, one in places)
    said = text(
        f"no network: {hosts} do not answer; this is from the catalogue alone",
        f"没有网络：{hosts} 无响应；以下仅来自离线目录",
    )
    return SearchResult((), None, said)


def _asked(hub: str, endpoint: str, parameters: str, kind: str) -> SearchResult:
    """Ask one hub; what is wrong with its answer is told, not raised."""
    path, read = HUBS[hub]
    url = f"{endpoint}{path}/{kind}?{parameters}"
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return SearchResult(tuple(read(json.loads(response.read()), kind)), hub)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        cause = f"{endpoint}: {error or type(error).__name__}"
        said = text(
            f"the hub's answer cannot be used ({cause}); this is from the catalogue alone",
            f"社区返回无法使用（{cause}）；以下仅来自离线目录",
        )
        return SearchResult((), None, said)


def _parameters(hub: str, query: str, most: int) -> dict[str, object]:
    if hub == "modelscope":
        return {"search": query, "sort": "downloads", "page_number": 1, "page_size": most}
    return {"search": query, "sort": "downloads", "limit": most}


def _modelscope(said: Any, kind: str) -> Iterable[SearchHit]:
    if not isinstance(said, dict) or not said.get("success", True):
        raise ValueError(str(said)[:80])
    return [
        SearchHit(
            id=str(one["id"]),
            hub="modelscope",
            downloads=_whole(one.get("downloads")),
            license=str(one["license"]) if one.get("license") else None,
            size_bytes=_whole(one.get("file_size")),
            tasks=tuple(map(str, one.get("tasks") or ())),
        )
        for one in said["data"][kind]
    ]


def _huggingface(said: Any, kind: str) -> Iterable[SearchHit]:  # noqa: ARG001 - one shape for both
    return [
        SearchHit(
            id=str(one["id"]),
            hub="huggingface",
            downloads=_whole(one.get("downloads")),
            license=_license_of(one.get("tags") or ()),
            size_bytes=None,
            tasks=tuple(str(one[key]) for key in ("pipeline_tag",) if one.get(key)),
        )
        for one in said
    ]


HUBS: Mapping[str, tuple[str, Callable[[Any, str], Iterable[SearchHit]]]] = {
    "modelscope": ("/openapi/v1", _modelscope),
    "huggingface": ("/api", _huggingface),
}


def _license_of(tags: Iterable[str]) -> str | None:
    said = (one.partition(":")[2] for one in tags if one.startswith("license:"))
    return next(said, None)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
