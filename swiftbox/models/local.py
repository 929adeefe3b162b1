"""Models and datasets that are on this machine already; found by looking at names and sizes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models.cache_layouts import (
    CachedRepository,
    CacheName,
    cache_root,
    cached_repositories,
    folders_in,
)
from swiftbox.models.download_request import RepositoryKind
from swiftbox.models.verified import read_marker
from swiftbox.models.weights import INDEX, PICKLE_INDEX, read_index
from swiftbox.runs import folder as run_folder

CACHES: tuple[CacheName, ...] = ("modelscope", "huggingface")

DEEPEST = 3
"""Folders below the current one that are looked into for models: runs/NAME/model is three."""

MOST_FOLDERS = 2000
"""Folders looked into: a list asked for in the wrong place must not walk a whole disk."""

DEEPEST_FILE = 12
UNFINISHED = (".incomplete", ".part", ".tmp")
TEMPORARY_FOLDER = "._____temp"
"""Where ModelScope's SDK collects a download."""

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt", ".onnx", ".pdparams")


@dataclass(frozen=True)
class LocalArtifact:
    """A model or a dataset on this machine; `folder` is what a config may name."""

    id: str
    kind: RepositoryKind
    location: Literal["modelscope", "huggingface", "folder"]
    folder: Path
    size_bytes: int
    complete: bool


def list_local(kind: RepositoryKind = "model", folders: Iterable[Path] = ()) -> list[LocalArtifact]:
    """Return what the caches hold, what our runs made, and the models in and below folders.

    The current directory is always one of those folders. Reads names, sizes, indexes and markers.
    """
    found = [
        local
        for cache in CACHES
        for one in sorted(cached_repositories(cache, kind), key=lambda one: one.id.lower())
        if (local := _of_cache(one, kind, cache)) is not None
    ]
    if kind == "dataset":
        return found
    seen = {one.folder.resolve() for one in found}
    roots = [cache_root(cache).resolve() for cache in CACHES]
    for name, folder in (*_results(), *_models_below([*folders, Path.cwd()])):
        place = folder.resolve()
        if place in seen or any(place.is_relative_to(root) for root in roots):
            continue
        seen.add(place)
        files = list(files_in(place))
        size = _size(files, follow=True)
        found.append(
            LocalArtifact(name, kind, "folder", place, size, _complete(place, kind, files))
        )
    return _told_apart(found)


def _told_apart(found: list[LocalArtifact]) -> list[LocalArtifact]:
    """Name those by their folders that several have the same name."""
    names = Counter(one.id for one in found)
    return [
        replace(one, id=_name(one.folder))
        if one.location == "folder" and names[one.id] > 1
        else one
        for one in found
    ]


def remove(one: LocalArtifact) -> int:
    """Delete a model or dataset from the cache that it is in; return the bytes that became free.

    Raises HubError for a folder, for what is not (or no longer) in a cache, for one being
    downloaded now, and where a file cannot be deleted.
    """
    if one.location == "folder":
        raise HubError(
            text(f"{one.folder} is in no cache", f"{one.folder} 不在缓存中"),
            hint=text("delete that folder yourself", "请自行删除该目录"),
        )
    kept = [
        this for this in cached_repositories(one.location, one.kind) if this.folder == one.folder
    ]
    if not kept or kept[0].id != one.id:
        raise HubError(
            text(
                f"{one.id} is not in {cache_root(one.location)} (any more)",
                f"{one.id} 不在（或已不在）{cache_root(one.location)} 中",
            )
        )
    from swiftbox.files import file_lock, named_lock

    def busy() -> None:
        raise HubError(
            text(f"{one.id} is being downloaded now", f"{one.id} 正在下载"),
            hint=text("stop that first, or wait for it", "请先停止下载或等待完成"),
        )

    with file_lock(named_lock(f"{one.location}-{one.kind}-{one.id}"), on_wait=busy):
        freed = _freed(kept[0].storage)
        try:
            shutil.rmtree(kept[0].storage)
        except OSError as error:
            raise HubError(
                text(
                    f"cannot delete {error.filename or kept[0].storage}: {error.strerror}",
                    f"无法删除 {error.filename or kept[0].storage}：{error.strerror}",
                )
            ) from None
    return freed


def files_in(folder: Path, depth: int = DEEPEST_FILE) -> Iterator[Path]:
    """Yield the files below a folder; linked folders and those that are closed are left out."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth > 0:
                yield from files_in(folder / entry.name, depth - 1)
        else:
            yield folder / entry.name


def _of_cache(
    one: CachedRepository, kind: RepositoryKind, cache: CacheName
) -> LocalArtifact | None:
    """Return what a cache holds of it; None where a download that failed left folders alone."""
    files = list(files_in(one.storage))
    if not files:
        return None
    whole = _complete(one.folder, kind, files)
    return LocalArtifact(one.id, kind, cache, one.folder, _size(files, follow=False), whole)


def _size(files: Iterable[Path], *, follow: bool) -> int:
    """Add up sizes, each file once however many names it has.

    In a cache links are not followed: they lead to blobs that are counted anyway.
    """
    found: dict[tuple[int, int], int] = {}
    for path in files:
        try:
            stat = path.stat() if follow else path.lstat()
        except OSError:
            continue
        found[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(found.values())


def _freed(storage: Path) -> int:
    """Return what deleting would free: a file that has a name elsewhere too stays on the disk."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for path in files_in(storage, depth=100):
        stat = path.lstat()
        names = sizes.setdefault((stat.st_dev, stat.st_ino), [stat.st_size, stat.st_nlink])
        names[1] -= 1
    return sum(size for size, elsewhere in sizes.values() if elsewhere <= 0)


def _complete(folder: Path, kind: RepositoryKind, files: list[Path]) -> bool:
    """Tell whether nothing is unfinished, nothing recorded is gone, and no weights are missing."""
    if any(one.name.endswith(UNFINISHED) or TEMPORARY_FOLDER in one.parts for one in files):
        return False
    if any(one.is_symlink() and not one.exists() for one in files):
        return False
    marker = read_marker(folder)
    if marker.origin is not None and not (
        marker.complete and all((folder / path).is_file() for path in marker.files)
    ):
        return False
    within = [one for one in files if one.is_relative_to(folder)]
    if kind == "dataset":
        return bool(within)
    index = next((folder / one for one in (INDEX, PICKLE_INDEX) if (folder / one).is_file()), None)
    try:
        named = set(read_index(index).values()) if index else set()
    except ValueError:
        return False
    return all((folder / one).is_file() for one in named) and any(
        one.suffix in WEIGHTS for one in within
    )


def _results() -> Iterator[tuple[str, Path]]:
    """Yield whole models that our runs made; an adapter is none."""
    for run in run_folder.runs():
        if _is_model(run.folder / run_folder.MODEL):
            yield run.name, run.folder / run_folder.MODEL


def _models_below(tops: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield folders with config.json and safetensors; within a run only its result."""
    left = MOST_FOLDERS
    for top in tops:
        waiting = [(top.expanduser(), 0)]
        while waiting and left > 0:
            folder, depth = waiting.pop(0)
            left -= 1
            if _is_model(folder):
                yield _name(folder), folder
            elif (folder / run_folder.STATE).is_file() and (folder / run_folder.ASKED).is_file():
                if _is_model(folder / run_folder.MODEL):
                    yield folder.name, folder / run_folder.MODEL
            elif depth < DEEPEST:
                waiting += [(inner, depth + 1) for inner in folders_in(folder)]


def _is_model(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    except OSError:
        return False


def _name(folder: Path) -> str:
    """Return a folder as a config names it: from here where it lies below, else absolute."""
    place = folder.resolve()
    below = place.is_relative_to(Path.cwd())
    return f"./{place.relative_to(Path.cwd())}" if below else str(place)
