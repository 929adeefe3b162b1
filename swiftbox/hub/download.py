"""One download from its start to its end: reach a hub, list, refuse, fetch, verify, record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from swiftbox import files
from swiftbox.errors import HubError
from swiftbox.hub import listing as names
from swiftbox.hub.client import HubClient
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter, silent
from swiftbox.hub.reach import endpoints_of, reachable
from swiftbox.hub.transfer_errors import TransferError, final_error, retry
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest, on_other_hub
from swiftbox.models.verified import Marker, Origin, is_complete, read_marker, size_and_mtime
from swiftbox.runs import events
from swiftbox.runs.events import Emit

AT_ONCE = 4
"""Files in flight: enough for small ones to hide each other's latency."""

Twin = Callable[[str, str], str | None]
"""Gives the id of a model on the other hub, from its id and hub; None where none is known."""


@dataclass(frozen=True)
class Download:
    """Where a download is, what it is of, and how much of it came over the network."""

    folder: Path
    origin: Origin | None = None
    files: int = 0
    size_bytes: int = 0
    fetched_bytes: int = 0

    @property
    def commit(self) -> str | None:
        """Return the commit that the files are of, where the hub told it."""
        return self.origin.commit if self.origin else None


@dataclass
class _Attempt:
    """One download at one address."""

    request: DownloadRequest
    client: HubClient
    emit: Emit
    announced: set[str] = field(default_factory=set)

    def pausing(self, trouble: TransferError, pause_s: float) -> None:
        """Say that something goes on after a pause."""
        message = text(
            f"{self.request.name}: {trouble}; again in {pause_s:.0f} s",
            f"{self.request.name}：{trouble}；{pause_s:.0f} 秒后重试",
        )
        self.emit(events.NOTE, message=message)

    def note(self, kind: str, message: str) -> None:
        """Say something once, however many addresses are tried."""
        if message not in self.announced:
            self.announced.add(message)
            self.emit(kind, message=message)


def catalogue_twin(name: str, hub: str) -> str | None:
    """Return the id on the other hub by the catalogue's pairs."""
    try:
        catalogue = import_module("swiftbox.models.catalogue")
    except ModuleNotFoundError:
        return None
    found = catalogue.model(name)
    if found is None:
        return None
    other: str | None = found.hf_id if hub == "modelscope" else found.id
    return other


def client_of(hub: str, endpoint: str) -> HubClient:
    """Return the client of a hub; its SDK is loaded here."""
    if hub == "modelscope":
        from swiftbox.hub.from_modelscope import ModelScope

        return ModelScope(endpoint)
    from swiftbox.hub.from_huggingface import HuggingFace

    return HuggingFace(endpoint)


def download(one: DownloadRequest, emit: Emit = silent, twin: Twin = catalogue_twin) -> Download:
    """Fetch a model or dataset whole; raise HubError when no hub can give it.

    What was fetched before stays and is gone on with, also after a failure.
    """
    said: set[str] = set()
    if one.hub == "local":
        from swiftbox.hub.from_folder import Folder

        return _fetch(_Attempt(one, Folder(), emit, said))
    ways = list(_ways(one, twin))
    answering = reachable(endpoint for _, endpoint in ways)
    if not answering:
        return _without_network(one, [endpoint for _, endpoint in ways], emit)
    last: tuple[DownloadRequest, TransferError] | None = None
    for wish, endpoint in ways:
        if endpoint not in answering:
            continue
        attempt = _Attempt(wish, client_of(wish.hub, endpoint), emit, said)
        if last is not None:
            attempt.note("warning", _turning(last[0], last[1], endpoint))
        try:
            return _fetch(attempt)
        except TransferError as trouble:
            last = (wish, trouble)
            if trouble.kind in ("denied", "full"):
                break
    if last is None:
        raise RuntimeError("an address that answers was not tried")
    raise final_error(last[0].name, last[0].hub, last[1]) from last[1]


def _ways(one: DownloadRequest, twin: Twin) -> Iterator[tuple[DownloadRequest, str]]:
    """Yield what to ask which address for: the hub's addresses, then those of the other hub."""
    for endpoint in endpoints_of(one.hub, one.endpoints):
        yield one, endpoint
    # Another hub's branches and commits are other ones: what was pinned is not to be had there.
    other = twin(one.id, one.hub) if one.kind == "model" and one.revision is None else None
    if other:
        hub = "huggingface" if one.hub == "modelscope" else "modelscope"
        for endpoint in endpoints_of(hub):
            yield on_other_hub(one, hub, other), endpoint


def _turning(one: DownloadRequest, trouble: TransferError, endpoint: str) -> str:
    return text(
        f"{one.name}: {trouble}; trying {endpoint}", f"{one.name}：{trouble}；改用 {endpoint}"
    )


def _without_network(one: DownloadRequest, endpoints: Sequence[str], emit: Emit) -> Download:
    """Return what is here already, when all of it is; else say what to do without a network."""
    for folder in client_of(one.hub, endpoints[0]).kept(one):
        marker = read_marker(folder)
        if is_complete(marker, one.selection):
            message = text(
                f"{one.name}: no network; what is here is complete and is used",
                f"{one.name}：无网络；使用本机已有的完整文件",
            )
            emit(events.NOTE, message=message)
            size_bytes = sum(file.size for file in marker.files.values())
            return Download(_inside(one, folder), marker.origin, len(marker.files), size_bytes)
    asked = ", ".join(dict.fromkeys(endpoints))
    raise HubError(
        text(
            f"cannot fetch {one.name}: no answer from {asked}",
            f"无法获取 {one.name}：{asked} 没有响应",
        ),
        hint=text(
            "check the network, or the proxy in HTTPS_PROXY; set a mirror with endpoint: or "
            "MODELSCOPE_ENDPOINT / HF_ENDPOINT; or copy the folder here and give its path",
            "请检查网络或 HTTPS_PROXY 代理；可用 endpoint: 或 MODELSCOPE_ENDPOINT / HF_ENDPOINT "
            "指定镜像；也可把目录复制到本机并给出路径",
        ),
    )


def _fetch(attempt: _Attempt) -> Download:
    """List, refuse what must not be, fetch what is missing, record it."""
    one, client = attempt.request, attempt.client
    listing = retry(lambda: client.listing(one), done=int, on_pause=attempt.pausing)
    files = names.select(listing.files, one)
    folder = client.folder(one, listing)
    names.require_safe(listing.files)
    names.require_inside(_places(attempt, folder, files), client.root(one, folder))
    _require_some(one, listing, files)
    _announce_pickles(attempt, files)
    marker = read_marker(folder)
    needed = [file for file in files if not marker.knows(file.path, file.sha256)]
    meter = Meter(one.name, one.kind, attempt.emit)
    origin = Origin(one.hub, one.id, one.kind, listing.revision, listing.commit, one.subfolder)
    if needed or not is_complete(marker, one.selection) or marker.origin != origin:
        job = _Transfer(attempt, folder, listing.revision, marker, meter)
        job.require_room(needed)
        marker.begin(origin)
        meter.begin(files, needed)
        job.carry_out(needed)
        marker.end(one.selection)
    _announce_code(attempt, folder, files)
    size_bytes = sum(file.size for file in files)
    return Download(_inside(one, folder), origin, len(files), size_bytes, meter.fetched)


def _places(
    attempt: _Attempt, folder: Path, files: Sequence[RemoteFile]
) -> Iterator[tuple[str, Path]]:
    """Yield every path that is written to, with the hub's name of what goes there."""
    for file in files:
        yield file.path, folder / file.path
        yield file.path, attempt.client.partial(attempt.request, folder, file)


@dataclass(frozen=True)
class _Transfer:
    """The files of one repository on their way into a folder."""

    attempt: _Attempt
    folder: Path
    revision: str
    marker: Marker
    meter: Meter

    def already(self, file: RemoteFile) -> int:
        """Return how many bytes of a file are here; all of them when only a check is missing."""
        if (whole := size_and_mtime(self.folder / file.path)) and whole[0] == file.size:
            return file.size
        partial = size_and_mtime(
            self.attempt.client.partial(self.attempt.request, self.folder, file)
        )
        return min(partial[0], file.size) if partial else 0

    def require_room(self, needed: Sequence[RemoteFile]) -> None:
        """Raise HubError when the disk is too small for what remains."""
        remaining = sum(file.size - self.already(file) for file in needed)
        files.require_room(self.attempt.request.name, self.folder, remaining)

    def carry_out(self, needed: Sequence[RemoteFile]) -> None:
        """Fetch the files, small ones first, several at once; raise the first final Trouble.

        The others in flight are finished first, so that nothing of them is lost.
        """
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
            futures = [
                pool.submit(self.fetch, file) for file in sorted(needed, key=lambda one: one.size)
            ]
            try:
                for future in as_completed(futures):
                    future.result()
            except TransferError:
                for future in futures:
                    future.cancel()
                raise

    def fetch(self, file: RemoteFile) -> None:
        """Fetch one file and record it."""
        one, meter = self.attempt.request, self.meter
        meter.open(file.path, self.already(file))
        whole = False
        try:
            sha256 = retry(
                lambda: self.attempt.client.get(one, self.folder, file, self.revision, meter),
                done=lambda: meter.fetched_of.get(file.path, 0),
                on_pause=self.attempt.pausing,
            )
            self.marker.add(file.path, sha256)
            whole = True
        finally:
            meter.close(file.path, whole=whole)


def _inside(one: DownloadRequest, folder: Path) -> Path:
    return folder / one.subfolder if one.subfolder else folder


def _require_some(one: DownloadRequest, listing: Listing, files: Sequence[RemoteFile]) -> None:
    """Raise HubError when nothing is left to fetch, or nothing that could be used."""
    if not files:
        raise HubError(
            text(
                f"{one.name}: none of its {len(listing.files)} files is wanted",
                f"{one.name}：其 {len(listing.files)} 个文件均不在所需之列",
            ),
            hint=text(
                "look at allow_patterns, ignore_patterns and the subfolder behind the colon",
                "请检查 allow_patterns、ignore_patterns 与冒号后的子目录",
            ),
        )
    if one.kind == "model" and not one.pickles and names.only_pickles(files):
        raise HubError(
            text(
                f"{one.name}: its weights are pickles only ({names.pickles(files)[0]} ...)",
                f"{one.name}：其权重只有 pickle 格式（{names.pickles(files)[0]} ...）",
            ),
            hint=text(
                "pickles can run code and are not loaded; choose a model with safetensors",
                "pickle 可能执行代码，不会加载；请选择带 safetensors 的模型",
            ),
        )


def _announce_pickles(attempt: _Attempt, files: Sequence[RemoteFile]) -> None:
    found = names.pickles(files)
    if attempt.request.kind == "model" and found:
        attempt.note(
            "warning",
            text(
                f"{attempt.request.name} has pickles, which can run code and are not loaded here: "
                f"{_some(found)}",
                f"{attempt.request.name} 含有 pickle（可能执行代码，不会加载）：{_some(found)}",
            ),
        )


def _announce_code(attempt: _Attempt, folder: Path, files: Sequence[RemoteFile]) -> None:
    """Say that a model brings Python code that its config asks to run."""
    modules = [one.path for one in files if one.path.endswith(".py")]
    if attempt.request.kind != "model" or not modules:
        return
    try:
        config = json.loads((_inside(attempt.request, folder) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("auto_map"):
        attempt.note(
            "warning",
            text(
                f"{attempt.request.name} brings Python code of its own ({_some(modules)}); it runs "
                "only with trust_remote_code: true",
                f"{attempt.request.name} 自带 Python 代码（{_some(modules)}）；"
                "仅在 trust_remote_code: true 时执行",
            ),
        )


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (" ..." if len(paths) > 3 else "")
