"""What a repository holds and which of it is wanted; names that would leave the folder refused."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import MARKER

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")
"""Formats whose reading can run code."""

SAME_WEIGHTS = (".bin", ".pth", ".h5", ".msgpack", ".ot", ".gguf", ".ckpt")
"""Beside safetensors these hold the same weights once more, in formats that are not loaded."""

SAME_WEIGHTS_NAMES = ("pytorch_model*", "model*.onnx*", "consolidated*", "model*.pt")
OTHER_FORMATS = ("original", "onnx", "openvino", "coreml", "gguf")
"""Folders that hold the weights once more for other programs."""

LONGEST_NAME = 255


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; `sha256` where the hub tells it, else git's own `blob` hash."""

    path: str
    size: int
    sha256: str | None = None
    blob: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one revision; `commit` is what that revision was."""

    files: tuple[RemoteFile, ...]
    revision: str
    commit: str | None


def require_safe(files: Iterable[RemoteFile]) -> None:
    """Raise HubError when any name is no path within a folder; nothing was fetched then."""
    for one in files:
        if why := unsafe(one.path):
            raise _refused(
                one.path,
                why,
                hint=text(
                    "such a repository is broken or hostile; do not use it",
                    "这样的仓库已损坏或有恶意，请勿使用",
                ),
            )


def require_inside(places: Iterable[tuple[str, Path]], root: Path) -> None:
    """Raise HubError when a link on this machine would lead what is written out of `root`.

    `places` are names of the hub with the paths that are written to for them.
    """
    inside = root.resolve()
    checked: set[Path] = set()
    for name, path in places:
        new = [one for one in (path, path.parent) if one not in checked]
        checked.update(new)
        for one in new:
            leads = one.is_symlink() if one == path else True
            if leads and not one.resolve().is_relative_to(inside):
                raise _refused(
                    name,
                    text("a link leads it out of its folder", "有链接将其引出所在目录"),
                    hint=text(
                        f"remove the link ({one}), or choose another folder",
                        f"请删除该链接（{one}），或换用其他目录",
                    ),
                )


def _refused(name: str, why: str, *, hint: str) -> HubError:
    return HubError(
        text(
            f"the hub names a file {name!r}: {why}; nothing was fetched",
            f"社区给出的文件名 {name!r}：{why}；未下载任何内容",
        ),
        hint=hint,
    )


def unsafe(path: str) -> str:
    """Say why a path does not stay in its folder; empty when it does."""
    parts = path.split("/")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return text("it holds control characters", "含有控制字符")
    if "\\" in path or re.match(r"[A-Za-z]:", path) or path.startswith(("/", "~")):
        return text("it is no relative path", "不是相对路径")
    if any(part in ("", ".", "..") for part in parts):
        return text("it would leave its folder", "会离开所在目录")
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        return text("it is too long", "过长")
    if MARKER in parts:
        return text("that name is ours", "该名称为本工具保留")
    return ""


def select(files: Sequence[RemoteFile], one: DownloadRequest) -> tuple[RemoteFile, ...]:
    """Return the files that are wanted."""
    found = list(files)
    if one.subfolder:
        found = [file for file in found if file.path.startswith(f"{one.subfolder}/")]
    if one.allow:
        found = [file for file in found if matches(file.path, one.allow)]
    if one.ignore is not None:
        return tuple(file for file in found if not matches(file.path, one.ignore))
    if one.kind == "model" and not one.allow:
        twice = duplicates(found)
        found = [file for file in found if file.path not in twice]
    return tuple(found)


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether a path matches a pattern; `folder/` means all that is in it."""
    return any(
        fnmatch.fnmatchcase(path, f"{one}*" if one.endswith("/") else one) for one in patterns
    )


def duplicates(files: Iterable[RemoteFile]) -> frozenset[str]:
    """Return the files that hold once more what safetensors beside them hold."""
    paths = [PurePosixPath(one.path) for one in files]
    with_weights = {path.parent for path in paths if path.suffix == ".safetensors"}
    split = {path.parent for path in paths if path.name.startswith("model-00001-of-")}
    return frozenset(str(path) for path in paths if _is_duplicate(path, with_weights, split))


def _is_duplicate(
    path: PurePosixPath, with_weights: set[PurePosixPath], split: set[PurePosixPath]
) -> bool:
    for above in path.parents:
        if above.name in OTHER_FORMATS and above.parent in with_weights:
            return True
    if path.parent not in with_weights:
        return False
    if path.suffix == ".safetensors":
        return path.name == "consolidated.safetensors" and path.parent in split
    return path.suffix in SAME_WEIGHTS or matches(path.name, SAME_WEIGHTS_NAMES)


def pickles(files: Iterable[RemoteFile]) -> list[str]:
    """Return the files whose reading could run code."""
    return [one.path for one in files if PurePosixPath(one.path).suffix in PICKLES]


def only_pickles(files: Sequence[RemoteFile]) -> bool:
    """Tell whether the weights are there as pickles alone."""
    return bool(pickles(files)) and not any(one.path.endswith(".safetensors") for one in files)
