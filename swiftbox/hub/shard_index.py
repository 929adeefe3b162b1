"""Whether every shard that an index of weights names is in its repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from swiftbox.formatting import counted
from swiftbox.hub.listing import RemoteFile, path_below
from swiftbox.hub.transfer_errors import TransferError
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.weights import read_index
from swiftbox.security.paths import shown

INDEX_ENDINGS = (".safetensors.index.json", ".bin.index.json")

SHOWN_SHARDS = 3


def is_index(path: str) -> bool:
    """Tell whether a file of a repository is an index of weights."""
    return path.endswith(INDEX_ENDINGS)


def require_shards(
    request: DownloadRequest,
    folder: Path,
    selected: Sequence[RemoteFile],
    listed: Sequence[RemoteFile],
) -> None:
    """Raise TransferError when a fetched index cannot be read, or names a file that is not listed.

    Shards that the request leaves out are the user's choice.
    """
    if request.kind != "model":
        return
    names = {file.path for file in listed}
    for file in selected:
        if is_index(file.path):
            absent = [path for path in _shards(folder, file.path) if path not in names]
            if absent:
                raise _absent_shards(file.path, absent)


def _shards(folder: Path, index: str) -> Iterator[str]:
    """Yield the paths that an index names, which are relative to its own folder."""
    try:
        shards = sorted(set(read_index(path_below(folder, index)).values()))
    except (OSError, ValueError) as error:
        raise TransferError(
            "shards", text(f"{index} cannot be read: {error}", f"无法读取 {index}：{error}")
        ) from None
    for shard in shards:
        yield index[: index.rfind("/") + 1] + shard


def _absent_shards(index: str, absent: Sequence[str]) -> TransferError:
    listed = ", ".join(shown(path) for path in absent[:SHOWN_SHARDS])
    listed += " ..." if len(absent) > SHOWN_SHARDS else ""
    return TransferError(
        "shards",
        text(
            f"{index} names {counted(len(absent), 'file')} that the hub does not list: {listed}",
            f"{index} 中的 {len(absent)} 个文件社区并未列出：{listed}",
        ),
    )
