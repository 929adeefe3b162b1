"""ModelScope through its own SDK: its listing, its resumable transfer, its cache on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError, error_of_status
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import sha256_of
from swiftbox.runs.diagnosis import DISK_FULL, kind_of

A_WEEK_S = "604800"

ENVIRONMENT = {
    # The SDK allows each file an hour in all and gives up for good; a slow link needs days.
    "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": A_WEEK_S,
    # Another tool may be fetching the same file for as long.
    "MODELSCOPE_DOWNLOAD_FILE_LOCK_TIMEOUT_SECONDS": A_WEEK_S,
    # A transfer that stands still for half a minute does not move again.
    "MODELSCOPE_DOWNLOAD_TIMEOUT": "30",
    # Parts need twice the disk, and one stream is faster unless each is throttled.
    "MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS": "1",
    # Its bars would fill the log; ours are made of events.
    "TQDM_DISABLE": "1",
}
"""Read by the SDK when it is imported; what the user set stands."""


class ModelScope:
    """One address of ModelScope."""

    def __init__(self, endpoint: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from modelscope_hub import HubApi
        from modelscope_hub.config import HubConfig

        self.api: Any = HubApi(HubConfig(endpoint=endpoint))

    def listing(self, one: DownloadRequest) -> Listing:
        """Ask which files there are; the newest of their commits is what the revision was."""
        revision = one.revision or "master"
        try:
            rows = self.api.legacy.list_repo_files(one.id, one.kind, revision)
        except Exception as error:
            raise transfer_error_of(error) from error
        files = tuple(_file(row) for row in rows if (row.get("Type") or "blob") != "tree")
        newest = max(rows, key=lambda row: row.get("CommittedDate") or 0, default=None)
        return Listing(files, revision, newest.get("Revision") if newest else None)

    def folder(self, one: DownloadRequest, listing: Listing) -> Path:
        """Return the snapshot's folder in the SDK's cache, or `local_dir`."""
        if one.local_dir is not None:
            return one.local_dir
        return Path(
            self.api.download_repo(one.id, one.kind, revision=listing.revision, file_list=[])
        )

    def root(self, one: DownloadRequest, folder: Path) -> Path:  # noqa: ARG002 - as every client
        """Return the snapshot's folder: files stand in it as such."""
        return folder

    def kept(self, one: DownloadRequest) -> list[Path]:
        """Return the snapshot's folder: it is named by the branch."""
        return [self.folder(one, Listing((), one.revision or "master", None))]

    def partial(self, one: DownloadRequest, folder: Path, file: RemoteFile) -> Path:  # noqa: ARG002
        """Return the SDK's name for an unfinished file."""
        target = folder / file.path
        return target.with_suffix(target.suffix + ".incomplete")

    def get(
        self, one: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> str:
        """Let the SDK fetch one file; it resumes, checks the hash and renames."""
        try:
            path = self.api.downloader.download_file(
                one.id,
                one.kind,
                file.path,
                revision=revision,
                local_dir=folder,
                expected_sha256=file.sha256,
                file_size=file.size,
                progress_callbacks=[_callback(file, meter, meter.present.get(file.path, 0))],
            )
        except Exception as error:
            raise transfer_error_of(error) from error
        return file.sha256 or sha256_of(path)


def _file(row: dict[str, Any]) -> RemoteFile:
    return RemoteFile(
        path=str(row.get("Path") or row.get("Name") or ""),
        size=int(row.get("Size") or 0),
        sha256=row.get("Sha256") or None,
        commit=row.get("Revision"),
    )


def _callback(file: RemoteFile, meter: Meter, already: int) -> type:
    """Return the class that the SDK makes an instance of for each attempt at a file."""
    from modelscope_hub import ProgressCallback

    class Told(ProgressCallback):  # type: ignore[misc]  # the SDK has no types
        """Passes the bytes on; those that an earlier attempt left are reported first, once."""

        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            self.skip = already
            # A second attempt inside the SDK, after a wrong hash, begins from nothing.
            meter.add(file.path, already - meter.present.get(file.path, 0))

        def update(self, size: int) -> None:
            known = min(self.skip, max(size, 0))
            self.skip -= known
            if size != known:
                meter.add(file.path, size - known)

    return Told


def transfer_error_of(error: Exception) -> TransferError:
    """Return what an error of the SDK means; raise it on when it is none of its errors."""
    from modelscope_hub import errors

    words = f"{type(error).__name__}: {error}"
    if kind_of(error) == DISK_FULL:
        return TransferError("full", words)
    if isinstance(error, errors.FileIntegrityError):
        return TransferError("corrupt", words)
    if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError)):
        return TransferError("denied", words)
    if isinstance(error, errors.NotExistError):
        return TransferError("missing", words)
    if isinstance(error, errors.APIError):
        status = int(getattr(error, "status_code", None) or 500)
        return error_of_status(status, words, getattr(error, "retry_after", None))
    if isinstance(error, (errors.NetworkError, errors.StorageError, ConnectionError, TimeoutError)):
        return TransferError("passing", words)
    raise error
