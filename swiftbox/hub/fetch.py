"""From a name to a local path: a folder as it is, else the hub's resumable download."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.data.source import Source, parse_sources, resolve
from swiftbox.diagnosis import DISK_FULL, kind_of
from swiftbox.errors import HubError
from swiftbox.language import home, text

TOTAL_TIMEOUT_S = "604800"
"""modelscope allows each file an hour in all and does not retry; a slow link needs days."""

SKIPPED_WEIGHTS = ["*.bin", "*.pth", "*.pt", "*.onnx", "*.gguf", "*.h5", "*.msgpack", "original/*"]
"""Weight formats that are never loaded here; safetensors hold the same weights."""


def fetch_model(name: str, *, hub: str, revision: str | None) -> Path:
    """Return the folder of a model, downloading it when it is not here yet."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if hub == "local":
        raise HubError(
            text(f"no folder {name}", f"目录 {name} 不存在"),
            hint=text("give a folder, or set hub: modelscope", "请给出目录，或设 hub: modelscope"),
        )
    return _from_hub(name, hub=hub, revision=revision, kind="model")


def fetch_dataset(dataset: Any, *, columns: dict[str, str], hub: str) -> tuple[Source, ...]:
    """Return the dataset's sources with local paths, downloading those that are ids."""
    named = [
        one.model_dump() if isinstance(one, DatasetSource) else one for one in as_list(dataset)
    ]
    found: list[Source] = []
    for source in parse_sources(named, columns=columns):
        local = Path(source.path).expanduser()
        if not local.exists():
            if hub == "local":
                raise HubError(text(f"no file {source.path}", f"文件 {source.path} 不存在"))
            local = _from_hub(source.path, hub=hub, revision=None, kind="dataset")
        found.append(resolve(source, local))
    return tuple(found)


def _from_hub(name: str, *, hub: str, revision: str | None, kind: str) -> Path:
    with alone(f"{hub}-{kind}-{name}"):
        return _fetch(name, hub=hub, revision=revision, kind=kind)


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Let one process at a time fetch a thing; the others wait, and then find it fetched."""
    import fcntl

    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    safe = "".join(letter if letter.isalnum() else "-" for letter in what)
    with (folder / safe).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(name: str, *, hub: str, revision: str | None, kind: str) -> Path:
    skipped: Sequence[str] = SKIPPED_WEIGHTS if kind == "model" else ()
    fetch = _modelscope if hub == "modelscope" else _huggingface
    try:
        return Path(fetch(name, revision, list(skipped), kind))
    except Exception as error:  # the SDKs raise many kinds; nearly each is a download that failed
        if isinstance(error, ImportError) or kind_of(error) == DISK_FULL:
            raise
        cause = f"{type(error).__name__}: {error}"
        raise HubError(
            text(
                f"cannot fetch {name} from {hub} ({cause})", f"无法从 {hub} 获取 {name}（{cause}）"
            ),
            hint=text(
                "check the id and the network; the download continues where it stopped. "
                "With the files on disk, give their folder instead",
                "请检查 id 与网络；下载会从中断处继续。若文件已在磁盘上，请直接给出目录",
            ),
        ) from error


def _modelscope(name: str, revision: str | None, skipped: list[str], kind: str) -> str:
    os.environ.setdefault("MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT", TOTAL_TIMEOUT_S)
    from modelscope import dataset_snapshot_download, snapshot_download

    if kind == "dataset":
        return str(dataset_snapshot_download(name, revision=revision))
    return str(snapshot_download(name, revision=revision, ignore_patterns=skipped))


def _huggingface(name: str, revision: str | None, skipped: list[str], kind: str) -> str:
    from huggingface_hub import snapshot_download

    return str(
        snapshot_download(name, revision=revision, ignore_patterns=skipped or None, repo_type=kind)
    )
