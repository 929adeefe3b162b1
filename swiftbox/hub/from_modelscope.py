"""ModelScope through its SDK: the listing, the resumable transfer, the cache on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swiftbox.data.foreign_files import HEAD_BYTES
from swiftbox.errors import HubError
from swiftbox.hub.answers import MALFORMED
from swiftbox.hub.foreign_contents import head_of, is_readable, require_contents
from swiftbox.hub.http_file import FetchedFile
from swiftbox.hub.listing import (
    UNFINISHED,
    Listing,
    RemoteFile,
    listed_size,
    listing_error,
    path_below,
    unusable_answer,
    without_repeats,
    written_path,
)
from swiftbox.hub.own_origin import restrict_credentials
from swiftbox.hub.partial_files import own_name, take_over
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import PROXY_SIGN_IN, TransferError, error_of_status
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import sha256_of
from swiftbox.runs.diagnosis import DISK_FULL, kind_of
from swiftbox.security import paths
from swiftbox.security.secrets import may_have_token

ONE_WEEK_S = "604800"

ENVIRONMENT = {
    # By default the SDK gives up a file for good after one hour; a slow link needs days.
    "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": ONE_WEEK_S,
    # Another tool may be downloading the same file for as long.
    "MODELSCOPE_DOWNLOAD_FILE_LOCK_TIMEOUT_SECONDS": ONE_WEEK_S,
    # A transfer that stalls for half a minute does not recover.
    "MODELSCOPE_DOWNLOAD_TIMEOUT": "30",
    # Its progress bars would fill the log; ours are drawn from events.
    "TQDM_DISABLE": "1",
}
"""Read by the SDK at import; values that the user has set take precedence."""


class ModelScope:
    """One address of ModelScope."""

    def __init__(self, endpoint: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # Its parallel transfer sends the token's cookie wherever a redirect leads.
        os.environ["MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS"] = "1"
        from modelscope_hub import HubApi
        from modelscope_hub.config import HubConfig

        token = HubConfig(endpoint=endpoint).token
        is_allowed = may_have_token("modelscope", endpoint)
        self.withholds_token = bool(token) and not is_allowed
        if not is_allowed:
            token = ""  # the SDK would take None for the token of the environment, or of its login
        self.api: Any = HubApi(HubConfig(endpoint=endpoint, token=token))
        legacy = self.api.legacy
        for session in (legacy._session, legacy._read_session):
            restrict_credentials(session, endpoint, token)

    def listing(self, request: DownloadRequest) -> Listing:
        """Ask for the files; the newest of their commits is the commit of the revision."""
        revision = revision_of(request)
        try:
            rows = self.api.legacy.list_repo_files(request.id, request.kind, revision)
        except Exception as error:
            raise listing_error(error, transfer_error_of) from error
        if getattr(self.api.legacy._read_state, "listing_incomplete", False):
            raise TransferError(
                "unusable",
                text("the hub lists only a part of the files", "社区只列出了部分文件"),
            )
        try:
            files = tuple(_file(row) for row in rows if (row.get("Type") or "blob") != "tree")
            newest = max(rows, key=lambda row: row.get("CommittedDate") or 0, default=None)
        except MALFORMED as error:
            raise unusable_answer(error) from error
        commit = newest.get("Revision") if newest else None
        return Listing(without_repeats(files), revision, commit)

    def folder(self, request: DownloadRequest, listing: Listing) -> Path:
        """Return the snapshot's folder in the SDK's cache, or `local_dir`."""
        if request.local_dir is not None:
            return request.local_dir
        name = paths.repository_id(request.id, source="id", error=HubError)
        # The SDK joins both to its cache's folder.
        revision = paths.revision(listing.revision, source="revision", error=HubError)
        return Path(self.api.download_repo(name, request.kind, revision=revision, file_list=[]))

    def root(self, request: DownloadRequest, folder: Path) -> Path:  # noqa: ARG002 - as every client
        """Return the snapshot's folder: its files are not links."""
        return folder

    def downloaded_folders(self, request: DownloadRequest) -> list[Path]:
        """Return the snapshot's folder, which is named after the branch."""
        return [self.folder(request, Listing((), revision_of(request), None))]

    def partial(self, request: DownloadRequest, folder: Path, file: RemoteFile) -> Path:  # noqa: ARG002
        """Return the SDK's path of an unfinished file, in a folder of this process."""
        return path_below(_staging(folder), file.path + UNFINISHED)

    def take_over(
        self,
        request: DownloadRequest,  # noqa: ARG002 - as every client
        folder: Path,
        files: Sequence[RemoteFile],  # noqa: ARG002 - as every client
    ) -> None:
        """Continue what a process that ended has begun."""
        take_over([_staging(folder)])

    def clean_up(self, folder: Path) -> None:
        """Delete the folder of unfinished files, which are complete now."""
        shutil.rmtree(_staging(folder), ignore_errors=True)

    def has_contents(self, request: DownloadRequest, file: RemoteFile, path: Path) -> bool:  # noqa: ARG002
        """Return whether a local file has the contents that the hub lists."""
        if file.size not in (None, path.stat().st_size):
            return False
        return file.sha256 is not None and sha256_of(path) == file.sha256

    def fetch_file(
        self, request: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> FetchedFile:
        """Let the SDK fetch one file: it resumes and verifies the hash; then move it in place."""
        target, staging = written_path(folder, file.path), _staging(folder)
        if target.is_file() and self.has_contents(request, file, target):
            return FetchedFile(str(file.sha256), "hash")
        if file.sha256 is None:  # nothing tells whether a part is of the same version
            self.partial(request, folder, file).unlink(missing_ok=True)
        try:
            path = self.api.downloader.download_file(
                request.id,
                request.kind,
                file.path,
                revision=revision,
                local_dir=staging,
                expected_sha256=file.sha256,
                file_size=file.size,
                progress_callbacks=[_callback(file, meter, meter.present.get(file.path, 0))],
            )
        except Exception as error:
            reason = transfer_error_of(error)
            reason.__cause__ = error
            raise self._explained(request, file, revision, reason) from error
        try:
            fetched = _confirmed(file, Path(path))
        except TransferError:
            Path(path).unlink()
            raise
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(path).replace(target)
        return fetched

    def _explained(
        self, request: DownloadRequest, file: RemoteFile, revision: str, error: TransferError
    ) -> TransferError:
        """Return why a file is another one: the SDK deletes what it received, so ask again."""
        from modelscope_hub.errors import FileSizeMismatchError

        has_other_size = isinstance(error.__cause__, FileSizeMismatchError) or file.size is None
        if error.kind != "corrupt" or not has_other_size:
            return error
        try:
            with self.api.legacy.download_stream(
                request.id, request.kind, file.path, revision
            ) as answer:
                head = next(answer.iter_content(HEAD_BYTES), b"")
            require_contents(file.path, head, is_confirmed=False)
        except TransferError as reason:
            return reason
        except Exception:  # noqa: BLE001 - the first error is the one to report
            return error
        return error


def revision_of(request: DownloadRequest) -> str:
    """Return the branch, tag or commit that is requested; raise HubError for any other text."""
    return paths.revision(request.revision or "master", source="revision", error=HubError)


def _staging(folder: Path) -> Path:
    """Return the folder in which this process collects unfinished files."""
    return folder / own_name("")


def _confirmed(file: RemoteFile, path: Path) -> FetchedFile:
    """Return what confirms a file; raise TransferError if it is another one."""
    require_contents(file.path, head_of(path), is_confirmed=file.sha256 is not None)
    if file.sha256:  # the SDK has compared it
        return FetchedFile(file.sha256, "hash")
    if not is_readable(file.path, path):
        raise TransferError(
            "corrupt", text(f"{file.path}: is incomplete", f"{file.path}：内容不完整")
        )
    return FetchedFile(sha256_of(path), "nothing" if file.size is None else "length")


def _file(row: dict[str, Any]) -> RemoteFile:
    return RemoteFile(
        path=str(row.get("Path") or row.get("Name") or ""),
        size=listed_size(row.get("Size"), row.get("Sha256") or None, None),
        sha256=row.get("Sha256") or None,
        commit=row.get("Revision"),
    )


def _callback(file: RemoteFile, meter: Meter, present: int) -> type:
    """Return the class that the SDK instantiates for each attempt at a file."""
    from modelscope_hub import ProgressCallback

    class MeterCallback(ProgressCallback):  # type: ignore[misc]  # the SDK has no types
        """Counts bytes on the meter; the SDK first reports those of an earlier attempt, once."""

        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            self.bytes_to_skip = present
            # A second attempt within the SDK, after a wrong hash, starts from zero.
            meter.add(file.path, present - meter.present.get(file.path, 0))

        def update(self, size: int) -> None:
            skipped = min(self.bytes_to_skip, max(size, 0))
            self.bytes_to_skip -= skipped
            if size != skipped:
                meter.add(file.path, size - skipped)

    return MeterCallback


def transfer_error_of(error: Exception) -> TransferError:
    """Classify an error of the SDK; raise any other error again."""
    from modelscope_hub import errors

    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if kind_of(error) == DISK_FULL:
        return TransferError("full", message)
    if f"Tunnel connection failed: {PROXY_SIGN_IN}" in str(error):
        return TransferError("proxy", message)
    if isinstance(error, errors.FileIntegrityError):
        return TransferError("corrupt", message)
    if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError)):
        return TransferError("denied", message)
    if isinstance(error, errors.NotExistError):
        return TransferError("missing", message)
    if isinstance(error, errors.APIError):
        status = int(getattr(error, "status_code", None) or 500)
        return error_of_status(status, message, getattr(error, "retry_after", None))
    if isinstance(error, (errors.NetworkError, errors.StorageError, ConnectionError, TimeoutError)):
        return TransferError("passing", message)
    raise error
