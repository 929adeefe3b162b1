"""Models and datasets that are already on this machine, found by file names and sizes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from swiftbox.errors import HubError
from swiftbox.files import file_lock, named_lock
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

MAX_DEPTH = 3
"""Levels below the current folder that are searched for models: runs/NAME/model is three."""

MAX_FOLDERS = 2000
"""Folders searched: a listing started in the wrong place must not walk a whole disk."""

MAX_FILE_DEPTH = 12
UNFINISHED = (".incomplete", ".part", ".tmp")
TEMPORARY_FOLDER = "._____temp"
"""Where ModelScope's SDK collects unfinished downloads."""

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt", ".onnx", ".pdparams")


@dataclass(frozen=True)
class LocalArtifact:
    """A model or dataset on this machine; `folder` is what a config can name."""

    id: str
    kind: RepositoryKind
    location: Literal["modelscope", "huggingface", "folder"]
    folder: Path
    size_bytes: int
    complete: bool


def list_local(kind: RepositoryKind = "model", folders: Iterable[Path] = ()) -> list[LocalArtifact]:
    """Return the contents of the caches, the results of runs, and the models below folders.

    The current directory is always one of those folders. Reads names, sizes, indexes and markers.
    """
    artifacts = [
        artifact
        for cache in CACHES
        for repository in sorted(
            cached_repositories(cache, kind), key=lambda repository: repository.id.lower()
        )
        if (artifact := _cached_artifact(repository, kind, cache)) is not None
    ]
    if kind == "dataset":
        return artifacts
    folders_seen = {repository.folder.resolve() for repository in artifacts}
    roots = [cache_root(cache).resolve() for cache in CACHES]
    for name, folder in (*_results(), *_models_below([*folders, Path.cwd()])):
        place = folder.resolve()
        if place in folders_seen or any(place.is_relative_to(root) for root in roots):
            continue
        folders_seen.add(place)
        files = list(files_in(place))
        size = _size(files, follow=True)
        artifacts.append(
            LocalArtifact(name, kind, "folder", place, size, _complete(place, kind, files))
        )
    return _with_unique_ids(artifacts)


def _with_unique_ids(artifacts: list[LocalArtifact]) -> list[LocalArtifact]:
    """Replace ids that several folders share by the folders' paths."""
    names = Counter(artifact.id for artifact in artifacts)
    return [
        replace(artifact, id=_name(artifact.folder))
        if artifact.location == "folder" and names[artifact.id] > 1
        else artifact
        for artifact in artifacts
    ]


def remove(artifact: LocalArtifact) -> int:
    """Delete a model or dataset from its cache; return the number of bytes freed.

    Raises HubError for a folder outside the caches, for one that has left its cache, during a
    download of it, and when a file cannot be deleted.
    """
    storage = _cached_storage(artifact)

    def raise_busy() -> None:
        raise HubError(
            text(f"{artifact.id} is being downloaded now", f"{artifact.id} 正在下载"),
            hint=text("stop the download first, or wait for it", "请先停止下载或等待完成"),
        )

    lock = named_lock(f"{artifact.location}-{artifact.kind}-{artifact.id}")
    with file_lock(lock, on_wait=raise_busy):
        freed_bytes = _freed(storage)
        try:
            shutil.rmtree(storage)
        except OSError as error:
            path = error.filename or storage
            raise HubError(
                text(
                    f"cannot delete {path}: {error.strerror}",
                    f"无法删除 {path}：{error.strerror}",
                ),
                hint=text(
                    "check the permissions of its folder, then repeat", "请检查所在目录的权限后重试"
                ),
            ) from None
    return freed_bytes


def _cached_storage(artifact: LocalArtifact) -> Path:
    """Return the cache folder that holds an artifact; raise HubError if there is none."""
    if artifact.location == "folder":
        raise HubError(
            text(f"{artifact.folder} is not in a cache", f"{artifact.folder} 不在缓存中"),
            hint=text("delete that folder yourself", "请自行删除该目录"),
        )
    for repository in cached_repositories(artifact.location, artifact.kind):
        if repository.folder == artifact.folder and repository.id == artifact.id:
            return repository.storage
    root = cache_root(artifact.location)
    raise HubError(
        text(
            f"{artifact.id} is not in {root} (it may have been removed)",
            f"{artifact.id} 不在（或已不在）{root} 中",
        ),
        hint=text(
            "`swiftbox models --local` lists what is there",
            "`swiftbox models --local` 列出现有内容",
        ),
    )


def files_in(folder: Path, depth: int = MAX_FILE_DEPTH) -> Iterator[Path]:
    """Yield the files below a folder, without linked and unreadable folders."""
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


def _cached_artifact(
    repository: CachedRepository, kind: RepositoryKind, cache: CacheName
) -> LocalArtifact | None:
    """Return a cached repository; None if a failed download left only folders."""
    files = list(files_in(repository.storage))
    if not files:
        return None
    is_complete = _complete(repository.folder, kind, files)
    return LocalArtifact(
        repository.id, kind, cache, repository.folder, _size(files, follow=False), is_complete
    )


def _size(files: Iterable[Path], *, follow: bool) -> int:
    """Sum the sizes of files, counting each inode once.

    In a cache links are not followed: their blobs are counted as files.
    """
    sizes: dict[tuple[int, int], int] = {}
    for path in files:
        try:
            stat = path.stat() if follow else path.lstat()
        except OSError:
            continue
        sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def _freed(storage: Path) -> int:
    """Return the bytes that deleting frees: a file with hard links elsewhere stays on the disk."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for path in files_in(storage, depth=100):
        stat = path.lstat()
        names = sizes.setdefault((stat.st_dev, stat.st_ino), [stat.st_size, stat.st_nlink])
        names[1] -= 1
    return sum(size for size, other_names in sizes.values() if other_names <= 0)


def _complete(folder: Path, kind: RepositoryKind, files: list[Path]) -> bool:
    """Return whether no file is unfinished, missing from the marker, or missing from the index."""
    if any(path.name.endswith(UNFINISHED) or TEMPORARY_FOLDER in path.parts for path in files):
        return False
    if any(path.is_symlink() and not path.exists() for path in files):
        return False
    marker = read_marker(folder)
    if marker.origin is not None and not (
        marker.complete and all((folder / path).is_file() for path in marker.files)
    ):
        return False
    inside = [path for path in files if path.is_relative_to(folder)]
    if kind == "dataset":
        return bool(inside)
    index = next(
        (folder / path for path in (INDEX, PICKLE_INDEX) if (folder / path).is_file()), None
    )
    try:
        weight_files = set(read_index(index).values()) if index else set()
    except ValueError:
        return False
    return all((folder / path).is_file() for path in weight_files) and any(
        path.suffix in WEIGHTS for path in inside
    )


def _results() -> Iterator[tuple[str, Path]]:
    """Yield the complete models that runs have made, without adapters."""
    for run in run_folder.runs():
        if _is_model(run.folder / run_folder.MODEL):
            yield run.name, run.folder / run_folder.MODEL


def _models_below(tops: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield folders with config.json and safetensors; of a run only its result."""
    remaining = MAX_FOLDERS
    for top in tops:
        queue = [(top.expanduser(), 0)]
        while queue and remaining > 0:
            folder, depth = queue.pop(0)
            remaining -= 1
            if _is_model(folder):
                yield _name(folder), folder
            elif (folder / run_folder.STATE).is_file() and (folder / run_folder.ASKED).is_file():
                if _is_model(folder / run_folder.MODEL):
                    yield folder.name, folder / run_folder.MODEL
            elif depth < MAX_DEPTH:
                queue += [(inner, depth + 1) for inner in folders_in(folder)]


def _is_model(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    except OSError:
        return False


def _name(folder: Path) -> str:
    """Return a folder's path for a config: relative if below the current folder, else absolute."""
    resolved = folder.resolve()
    is_below = resolved.is_relative_to(Path.cwd())
    return f"./{resolved.relative_to(Path.cwd())}" if is_below else str(resolved)
