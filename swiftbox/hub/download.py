"""One download from start to end: reach a hub, list, check, fetch, verify, record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.hub import content_checks, local_folder
from swiftbox.hub import listing as listings
from swiftbox.hub.client import HubClient
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter, silent
from swiftbox.hub.reach import (
    endpoints_of,
    reachable,
    require_supported_proxy,
    token_withheld,
)
from swiftbox.hub.shard_index import require_shards
from swiftbox.hub.transfer import Attempt, Transfer
from swiftbox.hub.transfer_errors import TransferError, final_error
from swiftbox.language import text
from swiftbox.models import catalogue
from swiftbox.models.download_request import DownloadRequest, on_other_hub
from swiftbox.models.verified import (
    Marker,
    Origin,
    is_complete,
    read_marker,
    unconfirmed_files,
)
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.security.private import user_umask

Twin = Callable[[str, str], str | None]
"""Returns a model's id on the other hub, from its id and hub; None if unknown."""


@dataclass(frozen=True)
class Download:
    """Where a model or dataset is, its origin, and how much was received over the network."""

    folder: Path
    origin: Origin | None = None
    files: int = 0
    size_bytes: int = 0
    fetched_bytes: int = 0

    @property
    def commit(self) -> str | None:
        """Return the commit of the files, where the hub reports it."""
        return self.origin.commit if self.origin else None


def catalogue_twin(name: str, hub: str) -> str | None:
    """Return a model's id on the other hub according to the catalogue."""
    row = catalogue.model(name)
    if row is None:
        return None
    return row.hf_id if hub == "modelscope" else row.id


def client_of(hub: str, endpoint: str) -> HubClient:
    """Return the client of a hub; this imports its SDK."""
    if hub == "modelscope":
        from swiftbox.hub.from_modelscope import ModelScope

        return ModelScope(endpoint)
    from swiftbox.hub.from_huggingface import HuggingFace

    return HuggingFace(endpoint)


@user_umask()
def download(
    request: DownloadRequest, emit: Emit = silent, twin: Twin = catalogue_twin
) -> Download:
    """Fetch a model or dataset completely; raise HubError when no hub can provide it.

    Files and parts of files that are already here are reused, also after a failure. They may be
    shared with other users, as the umask of the user has it.
    """
    announced: set[str] = set()
    if request.local_dir is not None:
        local_folder.require_target(request.local_dir)
    if request.hub == "local":
        return _copy(request, emit)
    routes = list(_routes(request, twin))
    answering = reachable(endpoint for _, endpoint in routes)
    if not answering:
        return _without_network(request, [endpoint for _, endpoint in routes], emit)
    origins = tuple((routed.hub, routed.id) for routed, _ in routes)
    last: tuple[DownloadRequest, TransferError] | None = None
    for routed, endpoint in routes:
        if endpoint not in answering:
            continue
        client = client_of(routed.hub, endpoint)
        attempt = Attempt(routed, client, emit, announced, origins)
        if last is not None:
            attempt.warn(_switching(last[0], last[1], endpoint))
        if attempt.client.withholds_token:
            attempt.warn(token_withheld(routed.hub, endpoint))
        try:
            require_supported_proxy(routed.hub, endpoint)
            return _fetch(attempt)
        except TransferError as error:
            last = (routed, error)
            if error.kind in ("denied", "full"):
                break
    if last is None:
        raise RuntimeError("no reachable endpoint was tried")
    raise final_error(last[0].name, last[0].hub, last[1]) from last[1]


def _copy(request: DownloadRequest, emit: Emit) -> Download:
    """Copy a folder of this machine."""
    from swiftbox.hub.from_folder import Folder

    try:
        return _fetch(Attempt(request, Folder(), emit, origins=((request.hub, request.id),)))
    except TransferError as error:
        raise final_error(request.name, request.hub, error) from error


def _routes(request: DownloadRequest, twin: Twin) -> Iterator[tuple[DownloadRequest, str]]:
    """Yield what to request from which endpoint: the hub's endpoints, then the other hub's."""
    for endpoint in endpoints_of(request.hub, request.endpoints):
        yield request, endpoint
    # Branches and commits differ between hubs: a pinned revision exists only on its own.
    is_unpinned_model = request.kind == "model" and request.revision is None
    other = twin(request.id, request.hub) if is_unpinned_model else None
    if other:
        hub = "huggingface" if request.hub == "modelscope" else "modelscope"
        for endpoint in endpoints_of(hub):
            yield on_other_hub(request, hub, other), endpoint


def _switching(request: DownloadRequest, error: TransferError, endpoint: str) -> str:
    return text(
        f"{request.name}: {error}; trying {endpoint}",
        f"{request.name}：{error}；改用 {endpoint}",
    )


def _without_network(request: DownloadRequest, endpoints: Sequence[str], emit: Emit) -> Download:
    """Return an earlier complete download; raise HubError if there is none."""
    for folder in client_of(request.hub, endpoints[0]).downloaded_folders(request):
        marker = read_marker(folder)
        if is_complete(marker, request.selection):
            message = text(
                f"{request.name}: no network; using the complete copy on this machine",
                f"{request.name}：无网络；使用本机已有的完整文件",
            )
            emit(events.NOTE, message=message)
            size_bytes = sum(file.size for file in marker.files.values())
            model = _with_subfolder(request, folder)
            return Download(model, marker.origin, len(marker.files), size_bytes)
    tried = ", ".join(dict.fromkeys(endpoints))
    raise HubError(
        text(
            f"cannot fetch {request.name}: no answer from {tried}",
            f"无法获取 {request.name}：{tried} 没有响应",
        ),
        hint=text(
            "check the network, or the proxy in HTTPS_PROXY; set a mirror with endpoint: or "
            "MODELSCOPE_ENDPOINT / HF_ENDPOINT; or copy the folder here and give its path",
            "请检查网络或 HTTPS_PROXY 代理；可用 endpoint: 或 MODELSCOPE_ENDPOINT / HF_ENDPOINT "
            "指定镜像；也可把目录复制到本机并给出路径",
        ),
    )


@dataclass(frozen=True)
class _CheckedListing:
    """A listing that passed every check, and what is missing of it."""

    listing: Listing
    files: tuple[RemoteFile, ...]
    folder: Path
    marker: Marker
    missing: list[RemoteFile]


def _checked(attempt: Attempt) -> _CheckedListing:
    """List the files; raise HubError for what may not be fetched or written. Fetches nothing."""
    request, client = attempt.request, attempt.client
    listing = attempt.repeat(lambda: client.listing(request))
    listings.require_safe(listing, request)
    files = _selected(attempt, listing)
    folder = client.folder(request, listing)
    listings.require_apart(files, folder)
    listings.require_inside(_written_paths(attempt, folder, files), client.root(request, folder))
    content_checks.require_usable(request, listing, files)
    marker = read_marker(folder)
    missing = [file for file in files if not marker.has(file, commit=listing.commit)]
    if request.local_dir is not None:
        local_folder.require_same_repository(marker, attempt.origins)
        local_folder.require_own_files(marker, missing, partial(client.has_contents, request))
    return _CheckedListing(listing, files, folder, marker, missing)


def check_copy(request: DownloadRequest) -> None:
    """Raise HubError for a copy of a folder of this machine that a run would refuse."""
    from swiftbox.hub.from_folder import Folder

    _checked(Attempt(request, Folder(), silent, origins=((request.hub, request.id),)))


def _fetch(attempt: Attempt) -> Download:
    """List the files, check them, fetch what is missing, record it."""
    request, checked = attempt.request, _checked(attempt)
    listing, files, marker, missing = (
        checked.listing,
        checked.files,
        checked.marker,
        checked.missing,
    )
    content_checks.warn_of_pickles(request, files, attempt.warn)
    meter = Meter(request.name, request.kind, attempt.emit)
    origin = Origin(
        request.hub, request.id, request.kind, listing.revision, listing.commit, request.subfolder
    )
    if missing or not is_complete(marker, request.selection) or marker.origin != origin:
        transfer = Transfer(attempt, checked.folder, listing.revision, marker, meter)
        attempt.client.take_over(request, checked.folder, missing)
        transfer.require_room(missing)
        marker.begin(origin, [file.path for file in missing])
        meter.begin(files, missing)
        transfer.fetch_files(missing, partial(_require_shards, request, checked))
        attempt.client.clean_up(checked.folder)
        marker.end(request.selection)
    else:
        _require_shards(request, checked)
    selected = {file.path for file in files}
    unconfirmed = [path for path in unconfirmed_files(marker) if path in selected]
    content_checks.warn_of_unconfirmed(request.name, unconfirmed, attempt.warn)
    folder = _with_subfolder(request, checked.folder)
    content_checks.warn_of_code(request, folder, files, attempt.warn)
    size_bytes = sum(marker.files[file.path].size for file in files if file.path in marker.files)
    return Download(folder, origin, len(files), size_bytes, meter.fetched)


def _require_shards(request: DownloadRequest, checked: _CheckedListing) -> None:
    """Raise HubError for an index that names files which the hub does not list."""
    listed = checked.listing.files
    require_shards(request, checked.folder, checked.files, listed)


def _selected(attempt: Attempt, listing: Listing) -> tuple[RemoteFile, ...]:
    """Return the files that a request selects; hidden ones are not written into `local_dir`."""
    request = attempt.request
    files = listings.select(listing.files, request)
    if request.local_dir is None:
        return files
    hidden = frozenset(local_folder.hidden_files(files))
    if hidden:
        message = local_folder.hidden_note(request.name, sorted(hidden))
        attempt.emit(events.NOTE, message=message)
    return tuple(file for file in files if file.path not in hidden)


def _written_paths(
    attempt: Attempt, folder: Path, files: Sequence[RemoteFile]
) -> Iterator[tuple[str, Path]]:
    """Yield every path that will be written, with the hub's name of the file."""
    for file in files:
        yield file.path, listings.path_below(folder, file.path)
        yield file.path, attempt.client.partial(attempt.request, folder, file)


def _with_subfolder(request: DownloadRequest, folder: Path) -> Path:
    return listings.path_below(folder, request.subfolder) if request.subfolder else folder
