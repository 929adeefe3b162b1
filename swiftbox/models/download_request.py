"""A request to download: a model or dataset by id, its hub, and which of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models.catalogue import similar
from swiftbox.security.paths import fault_of_relative, fault_of_repository, revision

RepositoryKind = Literal["model", "dataset"]

HUBS = ("modelscope", "huggingface")


@dataclass(frozen=True)
class DownloadRequest:
    """One model or dataset to download; `allow` and `ignore` are patterns for its files."""

    id: str
    kind: RepositoryKind = "model"
    hub: str = "modelscope"
    revision: str | None = None
    endpoints: tuple[str, ...] = ()
    local_dir: Path | None = None
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] | None = None
    """None: files that are not needed beside safetensors are skipped."""
    subfolder: str | None = None
    pickles: bool = True
    """Whether weights that exist only as pickles are accepted."""

    @property
    def name(self) -> str:
        """Return the id, with the subfolder if only that is requested."""
        return f"{self.id}:{self.subfolder}" if self.subfolder else self.id

    @property
    def selection(self) -> str:
        """Return the selection of files as one text; empty for the default selection."""
        if not (self.subfolder or self.allow or self.ignore is not None):
            return ""
        return f"{self.subfolder or ''}|{','.join(self.allow)}|{self.ignore}"


def parse_request(name: str, **settings: Any) -> DownloadRequest:
    """Parse a name; `owner/name:sub` is the folder `sub` of a repository.

    Raises HubError for a name that is not an id.
    """
    repository, _, subfolder = name.partition(":")
    is_id = not fault_of_repository(repository)
    if not is_id or (subfolder and fault_of_relative(subfolder)):
        raise HubError(
            text(f"{name} is not an id of a hub", f"{name} 不是有效的社区 id"), hint=_hint(name)
        )
    if settings.get("revision") is not None:
        revision(settings["revision"], source="revision", error=HubError)
    return DownloadRequest(repository, subfolder=subfolder or None, **settings)


def _hint(name: str) -> str:
    """Explain a name that is not an id: a web page, an id with a revision, a name without owner."""
    page = re.match(r"https?://[^/]+/(?:models/|datasets/)?([\w.-]+/[\w.-]+)", name)
    branch = re.fullmatch(r"([\w.-]+/[\w.-]+)@(\S+)", name)
    near = ", ".join(similar(name)) if "/" not in name else ""
    if page:
        return text(f"the id of that page is {page[1]}", f"该页面的 id 为 {page[1]}")
    if branch:
        return text(
            f"write {branch[1]} and set revision: {branch[2]} (--revision)",
            f"请写 {branch[1]}，并设 revision: {branch[2]}（--revision）",
        )
    if near:
        return text(f"an id is owner/name; similar: {near}", f"id 为 所有者/名称；相近：{near}")
    return text(
        "an id is owner/name, such as Qwen/Qwen3-0.6B; an existing folder is used as it is",
        "id 的形式为 所有者/名称，如 Qwen/Qwen3-0.6B；已存在的目录会直接使用",
    )


def on_other_hub(request: DownloadRequest, hub: str, name: str) -> DownloadRequest:
    """Return the request for another hub, under the id there and at its newest revision."""
    repository, _, subfolder = name.partition(":")
    return replace(
        request,
        id=repository,
        hub=hub,
        revision=None,
        endpoints=(),
        subfolder=subfolder or request.subfolder,
    )
