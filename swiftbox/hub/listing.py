"""The files of a repository: which are selected, and which names are refused as unsafe."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from swiftbox.errors import HubError
from swiftbox.hub.answers import MALFORMED
from swiftbox.hub.foreign_contents import is_page, page_error
from swiftbox.hub.transfer_errors import TransferError
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import EMPTY_SHA256, MARKER, ListedFile
from swiftbox.security import paths

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")
"""Suffixes of formats that can run code when they are read."""

SAME_WEIGHTS = (".bin", ".pth", ".h5", ".msgpack", ".ot", ".gguf", ".ckpt")
"""Formats that repeat the weights of the safetensors files and are not loaded."""

SAME_WEIGHTS_NAMES = ("pytorch_model*", "model*.onnx*", "consolidated*", "model*.pt")
OTHER_FORMATS = ("original", "onnx", "openvino", "coreml", "gguf")
"""Folders that repeat the weights for other programs."""

UNFINISHED = ".incomplete"
"""Suffix of a file that is not yet complete; the SDKs of both hubs use it too."""


EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""What git's hash of an empty file is."""


@dataclass(frozen=True)
class RemoteFile(ListedFile):
    """One file of a repository; `sha256` where the hub reports it, else git's `blob` hash."""

    commit: str | None = None

    @property
    def has_hash(self) -> bool:
        """Return whether the hub tells what the contents are."""
        return bool(self.sha256 or self.blob)


def listed_size(value: Any, sha256: str | None, blob: str | None) -> int | None:
    """Return a size as a hub lists it; None if it is unknown.

    Hubs and mirrors write 0 for a size that they do not know: only a hash tells an empty file.
    """
    size = None if value is None else int(value)
    if size == 0 and sha256 != EMPTY_SHA256 and (sha256 or blob != EMPTY_BLOB):
        return None
    return size


def without_repeats(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return the files without rows that a hub repeats, as when its list changes between pages."""
    return tuple(dict.fromkeys(files))


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one revision, and the commit that it resolved to."""

    files: tuple[RemoteFile, ...]
    revision: str
    commit: str | None


def require_safe(listing: Listing, request: DownloadRequest) -> None:
    """Raise HubError, before anything is fetched, for a listing that cannot be written safely.

    Every name is a path within a folder, every hash is one, and no two files share a path.
    """
    if listing.commit and (fault := paths.fault_of_revision(listing.commit)):
        raise _malicious(f"{request.name}: commit", listing.commit, fault)
    for file in listing.files:
        if reason := unsafe(file.path):
            raise _refused(file.path, reason, hint=_do_not_use())
        for key, value, lengths in (
            ("sha256", file.sha256, (paths.SHA256_LENGTH,)),
            ("blob", file.blob, (paths.SHA1_LENGTH, paths.SHA256_LENGTH)),
        ):
            if value is not None and (fault := paths.fault_of_digest(value, *lengths)):
                raise _malicious(f"{request.name}: {key} ({file.path})", value, fault)
        if file.size is not None and file.size < 0:
            raise _refused(
                file.path, text("its size is negative", "大小为负数"), hint=_do_not_use()
            )


def require_apart(files: Sequence[RemoteFile], folder: Path) -> None:
    """Raise HubError for two files with one path in a folder, and for a file that is a folder too.

    On disks that do not tell upper from lower case, names that differ in case alone are one path.
    """
    spelled: Callable[[str], str] = _folded if ignores_case(folder) else str
    names = {spelled(file.path) for file in files}
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    written: set[str] = set()
    for file in files:
        name, reason = spelled(file.path), ""
        if name in written:
            reason = text("another file has the same path", "与另一文件路径相同")
        elif name in folders:
            reason = text("it is both a file and a folder", "既是文件又是目录")
        elif name.endswith(UNFINISHED) and name.removesuffix(UNFINISHED) in names:
            reason = text("that name is used while a file is fetched", "该名称用于未完成的文件")
        if reason:
            raise _refused(file.path, reason, hint=_do_not_use())
        written.add(name)


def _folded(path: str) -> str:
    from unicodedata import normalize

    return normalize("NFC", path).casefold()


def ignores_case(folder: Path) -> bool:
    """Return whether the disk of a folder does not tell upper from lower case."""
    for place in (folder, *folder.parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other.name != place.name and place.exists():
            return other.exists() and other.samefile(place)
    return False


def _malicious(source: str, value: str, fault: str) -> HubError:
    return HubError(
        text(
            f"{source}: {paths.shown(value)}: {fault}; nothing was fetched",
            f"{source}：{paths.shown(value)}：{fault}；未下载任何内容",
        ),
        hint=_do_not_use(),
    )


def _do_not_use() -> str:
    return text(
        "the repository is broken or malicious; do not use it", "该仓库已损坏或有恶意，请勿使用"
    )


def require_inside(written: Iterable[tuple[str, Path]], root: Path) -> None:
    """Raise HubError when a link, or a file in the way of a folder, blocks a path below `root`.

    `written` holds the hub's name of each file with a path that is written for it.
    """
    checked: set[Path] = set()
    for name, target in written:
        if target in checked:
            continue
        checked.add(target)
        if fault := paths.fault_of_place(root, target):
            raise _refused(
                name,
                fault,
                hint=text(
                    f"remove what is in the way of {target}, or choose another folder",
                    f"请移走妨碍 {target} 的内容，或换用其他目录",
                ),
            )
        if target.is_dir():
            raise _refused(
                name,
                text(f"{target} is a folder", f"{target} 是目录"),
                hint=text("choose another folder", "请换用其他目录"),
            )


def _refused(name: str, reason: str, *, hint: str) -> HubError:
    return HubError(
        text(
            f"the hub lists a file {paths.shown(name)}: {reason}; nothing was fetched",
            f"社区列出的文件名 {paths.shown(name)}：{reason}；未下载任何内容",
        ),
        hint=hint,
    )


def unsafe(path: str) -> str:
    """Return why a path is not safe within a folder; empty if it is."""
    if not isinstance(path, str):
        return text("it is not text", "不是文本")
    if MARKER in path.split("/"):
        return text("swiftbox reserves that name", "该名称为 swiftbox 保留")
    return paths.fault_of_relative(path, hidden=True)


def path_below(folder: Path, path: str) -> Path:
    """Return the path of a hub's file below a folder, which is not asked for links yet."""
    if fault := unsafe(path):
        raise _refused(path, fault, hint=_do_not_use())
    return folder / path


def written_path(folder: Path, path: str) -> Path:
    """Return the path of a hub's file below a folder; raise HubError where links lead out."""
    return paths.relative_file(folder, path, source=str(folder), hidden=True, error=HubError)


def listing_error(
    error: Exception, classify: Callable[[Exception], TransferError]
) -> TransferError:
    """Return the error of a listing: what `classify` makes of it, or that it is not a listing."""
    try:
        return classify(error)
    except MALFORMED:
        return unusable_answer(error)


def unusable_answer(error: Exception) -> TransferError:
    """Return the error for an answer of a hub that is not a listing."""
    if is_page(str(getattr(error, "doc", "")).encode(errors="replace")):
        return page_error(text("the list of files", "文件列表"))
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return TransferError(
        "unusable",
        text(f"the hub's answer cannot be used ({reason})", f"社区返回的内容无法使用（{reason}）"),
    )


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
    names = [PurePosixPath(file.path) for file in files]
    with_weights = {name.parent for name in names if name.suffix == ".safetensors"}
    split = {name.parent for name in names if name.name.startswith("model-00001-of-")}
    return frozenset(str(name) for name in names if _is_duplicate(name, with_weights, split))


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
