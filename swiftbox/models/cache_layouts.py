"""How the hubs' own caches lie on disk: which folder holds which model or dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swiftbox.models.download_request import RepositoryKind

CacheName = Literal["modelscope", "huggingface"]

RESERVED = frozenset({"hub", "models", "datasets", "studios", "mcps", "skills", "agent"})
"""Folders of ModelScope's cache that are no owners in its flat layout."""

MARKS = (".msc", ".mdl", "config.json", "configuration.json", "model_index.json")
"""One of these says that a folder of the flat layout is a model, not something of the SDK's own."""

USUAL_REVISIONS = ("master", "main")


@dataclass(frozen=True)
class CachedRepository:
    """A repository in a cache: `storage` is all of it, `folder` the snapshot to be used."""

    id: str
    storage: Path
    folder: Path


def cache_root(cache: CacheName) -> Path:
    """Return the folder of a cache, as its SDK finds it."""
    home = Path.home() / ".cache"
    if cache == "modelscope":
        return _expanded(os.environ.get("MODELSCOPE_CACHE") or home / "modelscope")
    if named := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(named)
    base = os.environ.get("HF_HOME")
    return _expanded(base or Path(os.environ.get("XDG_CACHE_HOME") or home) / "huggingface") / "hub"


def cached_repositories(cache: CacheName, kind: RepositoryKind) -> Iterator[CachedRepository]:
    """Yield what a cache holds; nothing of it lies outside the cache: links are not followed."""
    root = cache_root(cache).resolve()
    if cache == "huggingface":
        for storage in folders_in(root):
            if storage.name.startswith(f"{kind}s--"):
                yield from _snapshot_of(storage, storage.name.removeprefix(f"{kind}s--"))
        return
    for base in (root, root / "hub"):
        if base.is_symlink():
            continue
        for top in folders_in(base):
            if top.name == f"{kind}s":
                yield from _of_modelscope(top)
            elif kind == "model" and top.name not in RESERVED:
                flat = (one for one in folders_in(top) if any((one / m).exists() for m in MARKS))
                yield from (CachedRepository(_id(top, one), one, one) for one in flat)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder by name: no links, none hidden, none where it is closed."""
    try:
        with os.scandir(folder) as found:
            names = [
                one.name
                for one in found
                if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")
            ]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _of_modelscope(top: Path) -> Iterator[CachedRepository]:
    """Yield owner--name/snapshots/REVISION of today's SDK and owner/name of the older ones."""
    for one in folders_in(top):
        if "--" in one.name:
            yield from _snapshot_of(one, one.name)
        else:
            yield from (
                CachedRepository(_id(one, inner), inner, inner) for inner in folders_in(one)
            )


def _snapshot_of(storage: Path, name: str) -> Iterator[CachedRepository]:
    if (storage / "snapshots").is_symlink():
        return
    snapshots = folders_in(storage / "snapshots")
    if snapshots:
        yield CachedRepository(name.replace("--", "/", 1), storage, _used(storage, snapshots))


def _used(storage: Path, snapshots: list[Path]) -> Path:
    """Return the snapshot that the usual branch is at; without one, the newest."""
    named = {one.name: one for one in snapshots}
    for revision in USUAL_REVISIONS:
        try:
            commit = (storage / "refs" / revision).read_text("utf-8").strip()
        except (OSError, ValueError):
            commit = revision
        if commit in named:
            return named[commit]
    return max(snapshots, key=lambda one: one.lstat().st_mtime)


def _id(owner: Path, name: Path) -> str:
    """Return the id behind a folder: the older SDKs wrote ___ for a dot in the name."""
    return f"{owner.name}/{name.name.replace('___', '.')}"


def _expanded(named: str | Path) -> Path:
    return Path(os.path.expandvars(named)).expanduser()
