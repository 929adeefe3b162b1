"""From a name to a local path: an existing folder as it is, else a verified, resumable download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.data.readings import readings_of
from swiftbox.data.source import RowSource, parse_sources, resolve
from swiftbox.errors import HubError
from swiftbox.files import file_lock, named_lock
from swiftbox.hub.download import Download, download
from swiftbox.hub.progress import silent
from swiftbox.language import text
from swiftbox.models.download_request import parse_request
from swiftbox.models.known_columns import known_columns_note, with_known_columns
from swiftbox.models.location import locate_recorded, looks_like_path
from swiftbox.runs import events
from swiftbox.runs.events import Emit


def fetch_model(
    name: str, *, hub: str, revision: str | None, emit: Emit = silent, key: str = "model"
) -> Download:
    """Return the folder of a model or adapter, downloading what is an id on a hub.

    Raises ConfigError, under the setting's `key`, for a path or run that does not exist.
    """
    folder = locate_recorded(name, key=key, hub=hub)
    if folder is not None:
        return Download(folder)
    request = parse_request(name, hub=hub, revision=revision, pickles=False)
    lock = named_lock(f"{hub}-model-{request.id}")
    with file_lock(lock, on_wait=on_wait(request.name, emit)):
        return download(request, emit)


def fetch_dataset(
    dataset: Any, *, columns: dict[str, str], hub: str, emit: Emit = silent
) -> tuple[RowSource, ...]:
    """Return the dataset's sources with local paths, downloading those that are ids."""
    entries = [
        entry.model_dump() if isinstance(entry, DatasetSource) else entry
        for entry in as_list(dataset)
    ]
    sources: list[RowSource] = []
    for named in parse_sources(entries, columns=columns):
        source = with_known_columns(named) if hub != "local" else named
        if note := known_columns_note(named) if source != named else "":
            emit(events.NOTE, key="columns", message=note)
        local = Path(source.path).expanduser()
        is_path = hub == "local" or looks_like_path(source.path)
        if not is_path or not local.exists():
            if hub == "local":
                raise HubError(
                    text(f"no file {source.path}", f"文件 {source.path} 不存在"),
                    hint=text(
                        "relative paths start where the command runs; an id needs a hub other "
                        "than local",
                        "相对路径以运行命令的目录为起点；使用 id 时，hub 不能为 local",
                    ),
                )
            request = parse_request(source.path, kind="dataset", hub=hub)
            lock = named_lock(f"{hub}-dataset-{request.id}")
            with file_lock(lock, on_wait=on_wait(request.name, emit)):
                local = download(request, emit).folder
            _say_readings(resolve(source, local), emit)
        sources.append(resolve(source, local))
    return tuple(sources)


def _say_readings(source: RowSource, emit: Emit) -> None:
    """Say how files are read that no check has seen before the download."""
    for line in readings_of([source]).lines():
        emit(events.NOTE, key="dataset", message=line)


def on_wait(name: str, emit: Emit) -> Callable[[], None]:
    """Return a callback that reports another process downloading the same repository."""

    def report() -> None:
        message = text(
            f"another process is downloading {name}; waiting for it",
            f"另一进程正在下载 {name}；等待其完成",
        )
        emit(events.NOTE, message=message)

    return report
