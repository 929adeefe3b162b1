"""The files of one repository on their way into a folder: in parallel, resumed, recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.files import require_room
from swiftbox.formatting import duration, size
from swiftbox.hub import listing as listings
from swiftbox.hub.client import HubClient
from swiftbox.hub.listing import RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.shard_index import is_index
from swiftbox.hub.transfer_errors import Result, TransferError, retry
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import Marker, size_and_mtime
from swiftbox.runs import events
from swiftbox.runs.events import Emit

PARALLEL_FILES = 4
"""Enough for small files to hide each other's latency."""


@dataclass
class Attempt:
    """One download from one endpoint."""

    request: DownloadRequest
    client: HubClient
    emit: Emit
    announced: set[str] = field(default_factory=set)
    origins: tuple[tuple[str, str], ...] = ()
    """The hub and id of every route: the same repository on both hubs."""

    def repeat(self, transfer: Callable[[], Result], bytes_done: Callable[[], int] = int) -> Result:
        """Repeat a transfer with pauses while its error is transient."""
        return retry(transfer, bytes_done=bytes_done, on_pause=self.on_pause)

    def on_pause(self, error: TransferError, pause_s: float) -> None:
        """Report a retry after a pause."""
        pause = duration(pause_s)
        message = text(
            f"{self.request.name}: {error}; retrying in {pause}",
            f"{self.request.name}：{error}；{pause}后重试",
        )
        self.emit(events.NOTE, message=message)

    def warn(self, message: str) -> None:
        """Emit a warning once, however many endpoints are tried."""
        if message not in self.announced:
            self.announced.add(message)
            self.emit(events.WARNING, message=message)


@dataclass(frozen=True)
class Transfer:
    """The files of one repository on their way into a folder."""

    attempt: Attempt
    folder: Path
    revision: str
    marker: Marker
    meter: Meter

    def bytes_present(self, file: RemoteFile) -> int:
        """Return how many bytes of a file are here; all if only its verification is missing."""
        path = listings.path_below(self.folder, file.path)
        if (stat := size_and_mtime(path)) and stat[0] == file.size:
            return stat[0]
        client, request = self.attempt.client, self.attempt.request
        unfinished = size_and_mtime(client.partial(request, self.folder, file))
        present = unfinished[0] if unfinished else 0
        return present if file.size is None else min(present, file.size)

    def require_room(self, missing: Sequence[RemoteFile]) -> None:
        """Raise HubError when the disk is too small for the remaining bytes."""
        remaining = sum(
            file.size - self.bytes_present(file) for file in missing if file.size is not None
        )
        require_room(self.folder, remaining, self._no_room)

    def _no_room(self, needed: int, free: int) -> HubError:
        name = self.attempt.request.name
        return HubError(
            text(
                f"{name}: {size(needed)} to fetch, {size(free)} free at {self.folder}; "
                "nothing was fetched",
                f"{name}：还需下载 {size(needed)}，{self.folder} 仅剩 {size(free)}；未下载任何内容",
            ),
            hint=text(
                "free some space, or choose another disk: local_dir (download), MODELSCOPE_CACHE "
                "or HF_HOME in the environment",
                "请清理磁盘，或换用其他磁盘：local_dir（下载任务），或环境变量 "
                "MODELSCOPE_CACHE、HF_HOME",
            ),
        )

    def fetch_files(self, missing: Sequence[RemoteFile], check_indexes: Callable[[], None]) -> None:
        """Fetch the indexes of weights, check them, then fetch the other files."""
        self._fetch_in_parallel([file for file in missing if is_index(file.path)])
        check_indexes()
        self._fetch_in_parallel([file for file in missing if not is_index(file.path)])

    def _fetch_in_parallel(self, missing: Sequence[RemoteFile]) -> None:
        """Fetch files in parallel, small ones first; raise the first final TransferError.

        Transfers in flight are finished before it is raised, so that no bytes are lost.
        """
        by_size = sorted(missing, key=lambda file: file.size or 0)
        with ThreadPoolExecutor(PARALLEL_FILES, thread_name_prefix="fetch") as pool:
            futures = [pool.submit(self.fetch_file, file) for file in by_size]
            try:
                for future in as_completed(futures):
                    future.result()
            except TransferError:
                for future in futures:
                    future.cancel()
                raise

    def fetch_file(self, file: RemoteFile) -> None:
        """Fetch one file and record it."""
        request, meter = self.attempt.request, self.meter
        meter.open(file.path, self.bytes_present(file))
        complete = False
        try:
            fetched = self.attempt.repeat(
                lambda: self.attempt.client.fetch_file(
                    request, self.folder, file, self.revision, meter
                ),
                bytes_done=lambda: meter.fetched_of.get(file.path, 0),
            )
            self.marker.add(file.path, fetched.sha256, fetched.confirmed_by, file.blob)
            complete = True
        finally:
            meter.close(file.path, complete=complete)
