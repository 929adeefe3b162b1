"""task: download. Fetch a queue of models and datasets; a failure does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from swiftbox.config.download import DownloadConfig
from swiftbox.config.groups import as_list
from swiftbox.config.references import is_reference
from swiftbox.devices.machine import Machine
from swiftbox.errors import HubError, RunError
from swiftbox.files import file_lock, named_lock
from swiftbox.fit.forecast import Forecast, RunInputs, download_bytes
from swiftbox.hub.download import check_copy, download
from swiftbox.hub.expected_size import download_target, expected_size
from swiftbox.hub.fetch import on_wait
from swiftbox.hub.local_folder import require_target
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest, RepositoryKind, parse_request
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.security.paths import file_name, relative_file
from swiftbox.tasks.checks import OnRemark, absolute
from swiftbox.tasks.effects import Effects
from swiftbox.tasks.shared_effects import effects_of, folder_written
from swiftbox.tasks.task import Output, Resolved, Task


def resolve(config: DownloadConfig, machine: Machine) -> Resolved:  # noqa: ARG001 - the signature of every task
    """Check the names; a download does not depend on the machine."""
    list(queue(config))
    return Resolved(config, (), 1, {})


def queue(config: DownloadConfig) -> Iterator[DownloadRequest]:
    """Yield a request per model and dataset; raise HubError for an invalid name."""
    names: list[tuple[RepositoryKind, str]] = [
        *(("model", str(name)) for name in as_list(config.model or [])),
        *(("dataset", str(name)) for name in as_list(config.dataset or [])),
    ]
    for kind, name in names:
        if is_reference(name):
            continue  # made by an earlier step of a pipeline
        settings: dict[str, Any] = {
            "kind": kind,
            "hub": config.hub,
            "revision": config.revision,
            "endpoints": tuple(as_list(config.endpoint or [])),
            "allow": tuple(as_list(config.allow_patterns or [])),
            "ignore": _ignored(config),
        }
        if config.hub == "local":
            request = DownloadRequest(str(Path(name).expanduser()), **settings)
        else:
            request = parse_request(name, **settings)
        if config.local_dir is not None:
            into = _target(config.local_dir, request, is_only=len(names) == 1)
            request = replace(request, local_dir=into)
        yield request


def _target(local_dir: str, request: DownloadRequest, *, is_only: bool) -> Path:
    """Return the folder of one repository: `local_dir`, or a folder in it if there are several."""
    into = Path(local_dir).expanduser()
    if is_only:
        return into
    name = Path(request.id).resolve().name if request.hub == "local" else request.id
    return relative_file(into, name, source="local_dir", error=HubError)


def _ignored(config: DownloadConfig) -> tuple[str, ...] | None:
    if config.ignore_patterns is None:
        return None
    return tuple(pattern for pattern in as_list(config.ignore_patterns) if pattern != "none")


def check(config: DownloadConfig, on_remark: OnRemark) -> None:
    """Report the disk space needed; raise HubError for a local folder that cannot be copied."""
    models, datasets = (
        [str(name) for name in as_list(names or [])] for names in (config.model, config.dataset)
    )
    requests = list(queue(config))
    _require_targets(requests)
    if config.hub != "local":
        on_remark(expected_size(models, datasets, download_target(config.hub, config.local_dir)))
        return
    for request in requests:
        source = Path(request.id).resolve()
        into = Path(request.local_dir or request.id).resolve()
        if not source.is_dir():
            raise HubError(
                text(f"no folder {request.id}", f"目录 {request.id} 不存在"),
                hint=text("hub: local copies folders of this machine", "hub: local 复制本机目录"),
            )
        if into.is_relative_to(source):
            raise HubError(
                text(
                    f"local_dir: {into} is inside {source}, the folder to copy",
                    f"local_dir：{into} 位于待复制的 {source} 之内",
                ),
                hint=text("choose another folder", "请选择其他目录"),
            )
        check_copy(request)


def _require_targets(requests: Sequence[DownloadRequest]) -> None:
    """Raise HubError for a folder that may not be written into, or that two requests share."""
    targets: set[Path] = set()
    for request in requests:
        if request.local_dir is None:
            continue
        require_target(request.local_dir)
        if request.local_dir in targets:
            raise HubError(
                text(
                    f"local_dir: two downloads would go into {request.local_dir}",
                    f"local_dir：有两项下载都写入 {request.local_dir}",
                ),
                hint=text("download them one by one", "请逐个下载到不同目录"),
            )
        targets.add(request.local_dir)


def run(config: DownloadConfig, folder: Path, emit: Emit) -> Path | None:
    """Fetch one after the other; raise HubError at the end for those that failed."""
    failures: list[HubError] = []
    began, fetched = time.monotonic(), 0
    for request in queue(config):
        emit(events.STAGE, name="fetch", detail=request.name, kind=request.kind)
        try:
            with file_lock(
                named_lock(f"{request.hub}-{request.kind}-{request.id}"),
                on_wait=on_wait(request.name, emit),
            ):
                result = download(request, emit)
        except HubError as error:
            failures.append(error)
            emit(
                events.MISSED,
                what=request.name,
                kind=request.kind,
                message=error.message,
                hint=error.hint,
            )
            continue
        fetched += 1
        emit(
            events.FETCHED,
            what=request.name,
            kind=request.kind,
            path=str(result.folder),
            files=result.files,
            bytes=result.size_bytes,
            fetched_bytes=result.fetched_bytes,
            **({"from": asdict(result.origin)} if result.origin else {}),
        )
    if failures:
        raise _as_one(failures, fetched)
    emit(events.DONE, fetched=fetched, seconds=round(time.monotonic() - began, 2))
    return folder


def _as_one(failures: list[HubError], fetched: int) -> HubError:
    if len(failures) == 1 and not fetched:
        return failures[0]
    head = text(
        f"{len(failures)} of {len(failures) + fetched} could not be fetched",
        f"{len(failures) + fetched} 个中有 {len(failures)} 个未能获取",
    )
    hints = dict.fromkeys(failure.hint for failure in failures if failure.hint)
    messages = [failure.message for failure in failures]
    return HubError("\n".join([head, *messages]), hint="\n".join(hints))


def with_absolute_paths(config: DownloadConfig) -> DownloadConfig:
    """Make the target folder and the local sources absolute."""
    changes: dict[str, Any] = {}
    if config.local_dir:
        changes["local_dir"] = str(Path(config.local_dir).expanduser().absolute())
    for key in ("model", "dataset") if config.hub == "local" else ():
        if names := getattr(config, key):
            changes[key] = [absolute(str(name)) for name in as_list(names)]
    return config.model_copy(update=changes)


def effects(config: DownloadConfig) -> Effects:
    """Return what a download sends, and where it writes."""
    shared = effects_of(config)
    if config.local_dir is None:
        return shared
    return replace(shared, writes=(*shared.writes, folder_written("local_dir", config.local_dir)))


def run_name(config: DownloadConfig) -> str:
    """Name a download after the first repository that it fetches."""
    first = as_list(config.model or config.dataset)[0]
    return f"download-{file_name(Path(str(first)).name.lower())}"


def outputs(config: DownloadConfig) -> Mapping[str, Output]:
    """Return the outputs of a download: the folder of its model or dataset, if it has only one."""
    requested = {"model": as_list(config.model or []), "dataset": as_list(config.dataset or [])}
    return {kind: partial(_fetched, kind) for kind, names in requested.items() if len(names) == 1}


def _fetched(kind: str, folder: Path) -> str:
    for event in run_folder.newest_events(folder):
        if event["event"] == events.FETCHED and event.get("kind") == kind:
            return str(event["path"])
    raise RunError(
        text(f"{folder.name}: no {kind} was fetched", f"{folder.name}：未下载 {kind}"),
        hint=text(
            "resume the download: `swiftbox runs resume`", "请继续下载：`swiftbox runs resume`"
        ),
    )


def forecast(config: DownloadConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate the disk space of a model; None if its size is unknown."""
    return Forecast(download_bytes(before.model)) if before.model is not None else None


DOWNLOAD: Task[DownloadConfig] = Task(
    name="download",
    discriminator="task",
    default="download",
    config_classes={"download": DownloadConfig},
    resolve=resolve,
    run=run,
    check=check,
    run_name=run_name,
    effects=effects,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
    forecast=forecast,
    uses_devices=False,
)
