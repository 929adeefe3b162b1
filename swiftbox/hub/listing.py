"""The files of a repository: which are selected, and which names are refused as unsafe."""

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
"""Suffixes of formats that can run code when they are read."""

SAME_WEIGHTS = (".bin", ".pth", ".h5", ".msgpack", ".ot", ".gguf", ".ckpt")
"""Formats that repeat the weights of the safetensors files and are not loaded."""

SAME_WEIGHTS_NAMES = ("pytorch_model*", "model*.onnx*", "consolidated*", "model*.pt")
OTHER_FORMATS = ("original", "onnx", "openvino", "coreml", "gguf")
"""Folders that repeat the weights for other programs."""

MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; `sha256` where the hub reports it, else git's `blob` hash."""

    path: str
    size: int
    sha256: str | None = None
    blob: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one revision, and the commit that it resolved to."""

    files: tuple[RemoteFile, ...]
    revision: str
    commit: str | None


def require_safe(files: Iterable[RemoteFile]) -> None:
    """Raise HubError, before anything is fetched, when a name is not a path within a folder."""
    for file in files:
        if reason := unsafe(file.path):
            raise _refused(
                file.path,
                reason,
                hint=text(
                    "the repository is broken or malicious; do not use it",
                    "该仓库已损坏或有恶意，请勿使用",
                ),
            )


def require_inside(written: Iterable[tuple[str, Path]], root: Path) -> None:
    """Raise HubError when a link on this machine would redirect a write outside `root`.

    `written` holds the hub's name of each file with a path that is written for it.
    """
    boundary = root.resolve()
    checked: set[Path] = set()
    for name, target in written:
        unchecked = [path for path in (target, target.parent) if path not in checked]
        checked.update(unchecked)
        for path in unchecked:
            if path == target and not path.is_symlink():
                continue
            if not path.resolve().is_relative_to(boundary):
                raise _refused(
                    name,
                    text("a link leads outside the folder", "有链接指向目录之外"),
                    hint=text(
                        f"remove the link ({path}), or choose another folder",
                        f"请删除该链接（{path}），或换用其他目录",
                    ),
                )


def _refused(name: str, reason: str, *, hint: str) -> HubError:
    return HubError(
        text(
            f"the hub lists a file {name!r}: {reason}; nothing was fetched",
            f"社区列出的文件名 {name!r}：{reason}；未下载任何内容",
        ),
        hint=hint,
    )


def unsafe(path: str) -> str:
    """Return why a path is not safe within a folder; empty if it is."""
    parts = path.split("/")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return text("it contains control characters", "含有控制字符")
    if "\\" in path or re.match(r"[A-Za-z]:", path) or path.startswith(("/", "~")):
        return text("it is not a relative path", "不是相对路径")
    if any(part in ("", ".", "..") for part in parts):
        return text("it would leave its folder", "会离开所在目录")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return text("it is too long", "过长")
    if MARKER in parts:
        return text("swiftbox reserves that name", "该名称为 swiftbox 保留")
    return ""


def select(files: Sequence[RemoteFile], request: DownloadRequest) -> tuple[RemoteFile, ...]:
    """Return the files that a request selects."""
    selected = list(files)
    if request.subfolder:
        selected = [file for file in selected if file.path.startswith(f"{request.subfolder}/")]
    if request.allow:
        selected = [file for file in selected if matches(file.path, request.allow)]
    if request.ignore is not None:
        return tuple(file for file in selected if not matches(file.path, request.ignore))
    if request.kind == "model" and not request.allow:
        repeated = duplicates(selected)
        selected = [file for file in selected if file.path not in repeated]
    return tuple(selected)


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a path matches a pattern; `folder/` matches everything in it."""
    return any(
        fnmatch.fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern)
        for pattern in patterns
    )


def duplicates(files: Iterable[RemoteFile]) -> frozenset[str]:
    """Return the files that repeat the weights of safetensors files in the same folder."""
    paths = [PurePosixPath(file.path) for file in files]
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
    """Return the files that can run code when they are read."""
    return [file.path for file in files if PurePosixPath(file.path).suffix in PICKLES]


def only_pickles(files: Sequence[RemoteFile]) -> bool:
    """Return whether the weights exist only as pickles."""
    has_safetensors = any(file.path.endswith(".safetensors") for file in files)
    return bool(pickles(files)) and not has_safetensors
