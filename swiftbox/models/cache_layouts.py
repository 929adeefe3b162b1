"""The layouts of the hubs' caches on disk: which folder holds which model or dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swiftbox.models.download_request import RepositoryKind

CacheName = Literal["modelscope", "huggingface"]

RESERVED = frozenset({"hub", "models", "datasets", "studios", "mcps", "skills", "agent"})
"""Folders of ModelScope's cache that are not owners in its flat layout."""

MODEL_FILES = (".msc", ".mdl", "config.json", "configuration.json", "model_index.json")
"""Files that tell a model from the SDK's internal folders in the flat layout."""

DEFAULT_BRANCHES = ("master", "main")


@dataclass(frozen=True)
class CachedRepository:
    """A repository in a cache: `storage` is its folder, `folder` the snapshot to use."""

    id: str
    storage: Path
    folder: Path


def cache_root(cache: CacheName) -> Path:
    """Return the folder of a cache by the rules of its SDK."""
    home = Path.home() / ".cache"
    if cache == "modelscope":
        return _expanded(os.environ.get("MODELSCOPE_CACHE") or home / "modelscope")
    if hub_cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(hub_cache)
    hf_home = os.environ.get("HF_HOME")
    return (
        _expanded(hf_home or Path(os.environ.get("XDG_CACHE_HOME") or home) / "huggingface") / "hub"
    )


def cached_repositories(cache: CacheName, kind: RepositoryKind) -> Iterator[CachedRepository]:
    """Yield the repositories of a cache; links are not followed, so none is outside the cache."""
    root = cache_root(cache).resolve()
    plural = kind + "s"
    if cache == "huggingface":
        prefix = plural + "--"
        for storage in folders_in(root):
            if storage.name.startswith(prefix):
                yield from _snapshot_of(storage, storage.name.removeprefix(prefix))
        return
    for parent in (root, root / "hub"):
        if parent.is_symlink():
            continue
        for top in folders_in(parent):
            if top.name == plural:
                yield from _modelscope_snapshots(top)
            elif kind == "model" and top.name not in RESERVED:
                for folder in folders_in(top):
                    if any((folder / file).exists() for file in MODEL_FILES):
                        yield CachedRepository(_id(top, folder), folder, folder)


def folders_in(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, sorted; without links, hidden and unreadable ones."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            ]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _modelscope_snapshots(top: Path) -> Iterator[CachedRepository]:
    """Yield owner--name/snapshots/REVISION of the current SDK and owner/name of older ones."""
    for folder in folders_in(top):
        if "--" in folder.name:
            yield from _snapshot_of(folder, folder.name)
        else:
            yield from (
                CachedRepository(_id(folder, inner), inner, inner) for inner in folders_in(folder)
            )


def _snapshot_of(storage: Path, name: str) -> Iterator[CachedRepository]:
    if (storage / "snapshots").is_symlink():
        return
    snapshots = folders_in(storage / "snapshots")
    if snapshots:
        yield CachedRepository(name.replace("--", "/", 1), storage, _current(storage, snapshots))


def _current(storage: Path, snapshots: list[Path]) -> Path:
    """Return the snapshot of the default branch; the newest if that is not present."""
    by_name = {snapshot.name: snapshot for snapshot in snapshots}
    for revision in DEFAULT_BRANCHES:
        try:
            commit = (storage / "refs" / revision).read_text("utf-8").strip()
        except (OSError, ValueError):
            commit = revision
        if commit in by_name:
            return by_name[commit]
    return max(snapshots, key=lambda snapshot: snapshot.lstat().st_mtime)


def _id(owner: Path, name: Path) -> str:
    """Return a folder's id; older SDKs wrote ___ for a dot in the name."""
    return f"{owner.name}/{name.name.replace('___', '.')}"


def _expanded(path: str | Path) -> Path:
    return Path(os.path.expandvars(path)).expanduser()
