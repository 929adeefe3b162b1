"""Hugging Face through its SDK: the listing, the connection, the cache on disk.

huggingface_hub 2.4 discards a partial file when a transfer fails (huggingface_hub#4228), so files
are assembled here, over the SDK's connection, and moved into its cache when they are complete.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swiftbox.errors import HubError
from swiftbox.files import write_atomic
from swiftbox.hub.answers import MALFORMED
from swiftbox.hub.http_file import RANGE_NOT_SATISFIABLE, FetchedFile, HttpFile
from swiftbox.hub.listing import (
    Listing,
    RemoteFile,
    listed_size,
    listing_error,
    path_below,
    unusable_answer,
    without_repeats,
)
from swiftbox.hub.partial_files import own_name, take_over
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import PROXY_SIGN_IN, TransferError, error_of_status
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.runs.diagnosis import DISK_FULL, kind_of
from swiftbox.security import paths
from swiftbox.security.secrets import may_have_token

HASH_ATTEMPTS = 3
"""The same number as in ModelScope's SDK: another node of the network may have a correct copy."""


class HuggingFace:
    """One endpoint: Hugging Face or a mirror."""

    def __init__(self, endpoint: str) -> None:
        for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_TELEMETRY"):
            os.environ.setdefault(name, "1")
        from huggingface_hub import HfApi, get_token

        is_allowed = may_have_token("huggingface", endpoint)
        self.withholds_token = not is_allowed and bool(get_token())
        # None stands for the token of the environment or of the SDK's login, False for none.
        self._token = None if is_allowed else False
        self.endpoint = endpoint
        self._writing = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}
        self._transfers: dict[Path, HttpFile] = {}
        self.api: Any = HfApi(endpoint=endpoint, token=self._token)

    def listing(self, request: DownloadRequest) -> Listing:
        """Ask for the files at the commit that the revision resolves to now."""
        revision = revision_of(request)
        ask = self.api.model_info if request.kind == "model" else self.api.dataset_info
        try:
            repository = ask(request.id, revision=revision, files_metadata=True)
        except Exception as error:
            raise listing_error(error, transfer_error_of) from error
        if repository.sha is None and request.local_dir is None:
            raise _without_commit(self.endpoint)
        source = f"{request.name}: commit"
        commit = repository.sha and paths.commit(repository.sha, source=source, error=HubError)
        try:
            files = tuple(_file(row, commit) for row in repository.siblings or ())
        except MALFORMED as error:
            raise unusable_answer(error) from error
        return Listing(without_repeats(files), revision, commit)

    def folder(self, request: DownloadRequest, listing: Listing) -> Path:
        """Return the snapshot's folder in the SDK's cache, or `local_dir`."""
        if request.local_dir is not None:
            return request.local_dir
        return paths.inside(
            self._storage(request), "snapshots", str(listing.commit), error=HubError
        )

    def root(self, request: DownloadRequest, folder: Path) -> Path:
        """Return the folder in the cache, where links lead to blobs, or `local_dir`."""
        return folder if request.local_dir is not None else self._storage(request)

    def downloaded_folders(self, request: DownloadRequest) -> list[Path]:
        """Return the revision's snapshot; the SDK's cache records its commit."""
        if request.local_dir is not None:
            return [request.local_dir]
        revision = revision_of(request)
        reference = self._reference(request, revision)
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        if paths.fault_of_digest(commit):
            return []
        return [paths.inside(self._storage(request), "snapshots", commit, error=HubError)]

    def _storage(self, request: DownloadRequest) -> Path:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name = paths.repository_id(request.id, source="id", error=HubError)
        folder_name: str = repo_folder_name(repo_id=name, repo_type=request.kind)
        # It may be a link: users keep single models on other disks.
        return Path(constants.HF_HUB_CACHE) / folder_name

    def _reference(self, request: DownloadRequest, revision: str) -> Path:
        """Return the file in which the SDK's cache records the commit of a branch or tag."""
        source = f"{request.name}: revision"
        return paths.relative_file(
            self._storage(request), f"refs/{revision}", source=source, error=HubError
        )

    def partial(self, request: DownloadRequest, folder: Path, file: RemoteFile) -> Path:
        """Return the path of an unfinished file: next to the blobs, or in `local_dir`."""
        if request.local_dir is not None:
            return path_below(folder, own_name(file.path))
        digest = file.sha256 or file.blob or hashlib.sha256(file.path.encode()).hexdigest()
        blob = self._blob(request, digest)
        return blob.with_name(own_name(blob.name))

    def take_over(
        self, request: DownloadRequest, folder: Path, files: Sequence[RemoteFile]
    ) -> None:
        """Continue what processes that ended have begun of files, where a hash can tell it."""
        for keep in (True, False):
            partials = (
                self.partial(request, folder, file) for file in files if file.has_hash == keep
            )
            take_over(partials, keep=keep)

    def clean_up(self, folder: Path) -> None:
        """Leave the folder as it is: every unfinished file has become a complete one."""

    def _blob(self, request: DownloadRequest, digest: str) -> Path:
        """Return the path of the contents with a hash in the SDK's cache."""
        source = f"{request.name}: blob"
        paths.digest(digest, source=source, error=HubError)
        return paths.inside(self._storage(request), "blobs", digest, source=source, error=HubError)

    def has_contents(self, request: DownloadRequest, file: RemoteFile, path: Path) -> bool:  # noqa: ARG002 - as every client
        """Return whether a local file has the contents that the hub lists."""
        if file.size not in (None, path.stat().st_size):
            return False
        with contextlib.suppress(TransferError):
            return HttpFile(file, path, Meter("", "")).confirm(path).confirmed_by == "hash"
        return False

    def fetch_file(
        self, request: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> FetchedFile:
        """Fetch one file, resuming it; verify it; move it into the SDK's cache."""
        partial = self.partial(request, folder, file)
        with self._writing:
            lock = self._locks.setdefault(partial, threading.Lock())
            transfer = self._transfers.setdefault(partial, HttpFile(file, partial, meter))
        with lock:  # files with the same contents share a blob
            if request.local_dir is not None:
                return self._fetch_to(path_below(folder, file.path), request, transfer)
            digest = file.sha256 or file.blob
            blob = self._blob(request, digest) if digest else None
            fetched = self._fetch_to(blob, request, transfer)
            self._link_blob(folder, file, blob or self._blob(request, fetched.sha256))
        self._record_commit(request, revision, file.commit or revision)
        return fetched

    def _fetch_to(
        self, target: Path | None, request: DownloadRequest, transfer: HttpFile
    ) -> FetchedFile:
        """Fetch a file to `target`, or to the blob of its hash, unless it is there."""
        if target is not None and target.is_file():
            with contextlib.suppress(TransferError):
                fetched = transfer.confirm(target)
                if fetched.confirmed_by == "hash":
                    return fetched
        fetched = self._received(request, transfer)
        transfer.partial.replace(target or self._blob(request, fetched.sha256))
        return fetched

    def _received(self, request: DownloadRequest, transfer: HttpFile) -> FetchedFile:
        """Receive a file completely, again if it is another one."""
        partial = transfer.partial
        partial.parent.mkdir(parents=True, exist_ok=True)
        request_part = functools.partial(self._answer, request, transfer.file)
        for _ in range(HASH_ATTEMPTS):
            try:
                transfer.receive(request_part)
                return transfer.confirm(partial)
            except TransferError as error:
                if error.kind == "passing":
                    raise
                partial.unlink(missing_ok=True)
                last = error
                if error.kind != "corrupt":
                    break
            except Exception as error:
                raise transfer_error_of(error) from error
        raise last

    @contextlib.contextmanager
    def _answer(
        self, request: DownloadRequest, file: RemoteFile, headers: dict[str, str]
    ) -> Iterator[Any]:
        """Request a file; yield the answer."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        kind = None if request.kind == "model" else request.kind
        url = hf_hub_url(
            request.id, file.path, repo_type=kind, revision=file.commit, endpoint=self.endpoint
        )
        with get_session().stream(
            "GET",
            url,
            headers={**build_hf_headers(token=self._token), **headers},
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            follow_redirects=True,  # to the storage; the token is not sent there
        ) as answer:
            if answer.status_code != RANGE_NOT_SATISFIABLE:
                hf_raise_for_status(answer)
            yield answer

    def _record_commit(self, request: DownloadRequest, revision: str, commit: str) -> None:
        """Record a branch's commit as the SDK does; it is read when there is no network."""
        reference = self._reference(request, revision)
        if revision == commit or (reference.is_file() and reference.read_text("utf-8") == commit):
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        with self._writing:
            write_atomic(reference, commit)

    def _link_blob(self, folder: Path, file: RemoteFile, blob: Path) -> None:
        """Link a blob into its snapshot, where the SDK finds it.

        The SDK would ask the server once more under which name, and would trust the answer.
        """
        from huggingface_hub import constants

        link = path_below(folder, file.path)
        if link.is_file() and link.samefile(blob):
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = blob.with_name(f"{blob.name}.{threading.get_ident()}.link")
        temporary.unlink(missing_ok=True)
        try:
            if constants.HF_HUB_DISABLE_SYMLINKS:
                raise PermissionError
            temporary.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:  # a file system without links
            shutil.copyfile(blob, temporary)
        temporary.replace(link)


def revision_of(request: DownloadRequest) -> str:
    """Return the branch, tag or commit that is requested; raise HubError for any other text."""
    return paths.revision(request.revision or "main", source="revision", error=HubError)


def _file(row: Any, commit: str | None) -> RemoteFile:
    """Return a file as the hub lists it."""
    sha256 = row.lfs.sha256 if row.lfs else None
    value = row.size if row.size or not row.lfs else row.lfs.size
    size = listed_size(value, sha256, row.blob_id)
    return RemoteFile(row.rfilename, size, sha256, row.blob_id, commit)


def _without_commit(endpoint: str) -> TransferError:
    return TransferError(
        "commit",
        text(
            f"{endpoint} does not name the commit of the files",
            f"{endpoint} 未给出文件的提交",
        ),
    )


def transfer_error_of(error: Exception) -> TransferError:
    """Classify an error of the SDK; raise any other error again."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, TransferError):
        return error
    message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if kind_of(error) == DISK_FULL:
        return TransferError("full", message)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return TransferError("offline", message)
    if isinstance(error, httpx2.ProxyError) and str(PROXY_SIGN_IN) in message:
        return TransferError("proxy", message)
    if isinstance(error, errors.GatedRepoError):
        return TransferError("denied", message)
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        retry_after = error.response.headers.get("Retry-After", "")
        return error_of_status(
            error.response.status_code,
            message,
            float(retry_after) if retry_after.isdigit() else None,
        )
    if isinstance(error, (httpx2.HTTPError, ConnectionError, TimeoutError)):
        return TransferError("passing", message)
    raise error
