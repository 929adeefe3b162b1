"""Whether the selected files of a repository can be used, and what they may run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.files import read_json
from swiftbox.formatting import counted
from swiftbox.hub import listing as listings
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest


def require_usable(request: DownloadRequest, listing: Listing, files: Sequence[RemoteFile]) -> None:
    """Raise HubError when no file is selected, or the weights are pickles only."""
    if not files:
        raise HubError(
            text(
                f"{request.name}: none of its {len(listing.files)} files is selected",
                f"{request.name}：其 {len(listing.files)} 个文件均未被选中",
            ),
            hint=text(
                "check allow_patterns, ignore_patterns and the subfolder after the colon",
                "请检查 allow_patterns、ignore_patterns 与冒号后的子目录",
            ),
        )
    if request.kind == "model" and not request.pickles and listings.only_pickles(files):
        first = listings.pickles(files)[0]
        raise HubError(
            text(
                f"{request.name}: its weights are pickles only ({first} ...)",
                f"{request.name}：其权重只有 pickle 格式（{first} ...）",
            ),
            hint=text(
                "pickles can run code and are not loaded; choose a model with safetensors",
                "pickle 可能执行代码，不会加载；请选择带 safetensors 的模型",
            ),
        )


def warn_of_pickles(
    request: DownloadRequest, files: Sequence[RemoteFile], warn: Callable[[str], None]
) -> None:
    """Warn of files that can run code when they are read."""
    name, pickles = request.name, listings.pickles(files)
    if request.kind == "model" and pickles:
        warn(
            text(
                f"{name} has pickles, which can run code and are not loaded: {_first(pickles)}",
                f"{name} 含有 pickle（可能执行代码，不会加载）：{_first(pickles)}",
            )
        )


def warn_of_code(
    request: DownloadRequest,
    folder: Path,
    files: Sequence[RemoteFile],
    warn: Callable[[str], None],
) -> None:
    """Warn of Python code that the config in a model's folder asks to run."""
    name, modules = request.name, [file.path for file in files if file.path.endswith(".py")]
    if request.kind != "model" or not modules:
        return
    if read_json(folder / "config.json").get("auto_map"):
        warn(
            text(
                f"{name} contains Python code ({_first(modules)}); it runs only with "
                "trust_remote_code: true",
                f"{name} 自带 Python 代码（{_first(modules)}）；"
                "仅在 trust_remote_code: true 时执行",
            )
        )


def warn_of_unconfirmed(name: str, files: Sequence[str], warn: Callable[[str], None]) -> None:
    """Warn of files that no hash of the hub confirms."""
    if files:
        count = len(files)
        warn(
            text(
                f"{name}: the hub tells no hash of {counted(count, 'file')}, which therefore "
                f"could not be verified: {_first(files)}",
                f"{name}：社区未给出 {count} 个文件的哈希值，无法校验：{_first(files)}",
            )
        )


def _first(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (" ..." if len(paths) > 3 else "")
