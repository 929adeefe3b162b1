"""What is to be fetched: a model or a dataset by its id, from which hub, which of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models.catalogue import similar

RepositoryKind = Literal["model", "dataset"]

HUBS = ("modelscope", "huggingface")


@dataclass(frozen=True)
class DownloadRequest:
    """One model or dataset to fetch; `allow` and `ignore` are patterns of its files' paths."""

    id: str
    kind: RepositoryKind = "model"
    hub: str = "modelscope"
    revision: str | None = None
    endpoints: tuple[str, ...] = ()
    local_dir: Path | None = None
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] | None = None
    """None: what is not needed beside safetensors is left out."""
    subfolder: str | None = None
    pickles: bool = True
    """Whether weights that are only pickled are wanted."""

    @property
    def name(self) -> str:
        """Return what people call it: the id, with the subfolder where only that is wanted."""
        return f"{self.id}:{self.subfolder}" if self.subfolder else self.id

    @property
    def selection(self) -> str:
        """Return which of the files are wanted, as one text; empty where nothing is said of it."""
        if not (self.subfolder or self.allow or self.ignore is not None):
            return ""
        return f"{self.subfolder or ''}|{','.join(self.allow)}|{self.ignore}"


def parse_request(name: str, **settings: Any) -> DownloadRequest:
    """Return what a name asks for; `owner/name:sub` means the folder `sub` of a repository.

    Raises HubError for a name that is none.
    """
    repository, _, subfolder = name.partition(":")
    parts = repository.split("/")
    if len(parts) != 2 or not all(_is_word(one) for one in parts) or not _is_path(subfolder):
        raise HubError(
            text(f"{name} is no id of a hub", f"{name} 不是有效的社区 id"), hint=_meant(name)
        )
    return DownloadRequest(repository, subfolder=subfolder or None, **settings)


def _meant(name: str) -> str:
    """Say what a name that is no id may stand for: a page, an id with a revision, a mere name."""
    page = re.match(r"https?://[^/]+/(?:models/|datasets/)?([\w.-]+/[\w.-]+)", name)
    branch = re.fullmatch(r"([\w.-]+/[\w.-]+)@(\S+)", name)
    near = ", ".join(similar(name)) if "/" not in name else ""
    if page:
        return text(f"the id of that page is {page[1]}", f"该页面的 id 为 {page[1]}")
    if branch:
        return text(
            f"write {branch[1]}, and revision: {branch[2]} (--revision)",
            f"请写 {branch[1]}，并设 revision: {branch[2]}（--revision）",
        )
    if near:
        return text(f"an id is owner/name; near: {near}", f"id 为 所有者/名称；相近：{near}")
    return text(
        "an id is owner/name, such as Qwen/Qwen3-0.6B; a folder that exists is used as it is",
        "id 的形式为 所有者/名称，如 Qwen/Qwen3-0.6B；已存在的目录会直接使用",
    )


def on_other_hub(one: DownloadRequest, hub: str, name: str) -> DownloadRequest:
    """Return the same thing on another hub, under the id it has there and by its newest state."""
    repository, _, subfolder = name.partition(":")
    return replace(
        one,
        id=repository,
        hub=hub,
        revision=None,
        endpoints=(),
        subfolder=subfolder or one.subfolder,
    )


def _is_word(part: str) -> bool:
    return bool(part) and part.strip(".") != "" and all(c.isalnum() or c in "-._" for c in part)


def _is_path(subfolder: str) -> bool:
    return all(_is_word(part) for part in subfolder.split("/")) if subfolder else True
