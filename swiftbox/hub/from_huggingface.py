"""Hugging Face through its SDK: the listing, the connection, the cache on disk.

huggingface_hub 2.4 discards a partial file when a transfer fails (huggingface_hub#4228), so files
are assembled here, over the SDK's connection, and moved into its cache when they are complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.errors import HubError
from swiftbox.files import write_atomic
from swiftbox.hub.answers import MALFORMED
from swiftbox.hub.listing import (
    UNFINISHED,
    Listing,
    RemoteFile,
    listing_error,
    path_below,
    unusable_answer,
)
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError, error_of_status
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import BLOCK_BYTES
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
        self.api: Any = HfApi(endpoint=endpoint, token=self._token)

    def listing(self, request: DownloadRequest) -> Listing:
        """Ask for the files at the commit that the revision resolves to now."""
        revision = revision_of(request)
        ask = self.api.model_info if request.kind == "model" else self.api.dataset_info
        try:
            repository = ask(request.id, revision=revision, files_metadata=True)
        except Exception as error:
            raise listing_error(request, error, transfer_error_of) from error
        source = f"{request.name}: commit"
        commit = paths.commit(repository.sha, source=source, error=HubError)
        try:
            files = tuple(
                RemoteFile(
                    path=row.rfilename,
                    size=int(row.size or 0),
                    sha256=row.lfs.sha256 if row.lfs else None,
                    blob=row.blob_id,
                    commit=commit,
                )
                for row in repository.siblings or ()
            )
        except MALFORMED as error:
            raise unusable_answer(request, error) from error
        return Listing(files, revision, commit)

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
            return path_below(folder, file.path + UNFINISHED)
        digest = str(file.sha256 or file.blob)
        source = f"{request.name}: blob"
        paths.digest(digest, source=source, error=HubError)
        return paths.inside(
            self._storage(request), "blobs", digest + UNFINISHED, source=source, error=HubError
        )

    def has_contents(self, request: DownloadRequest, file: RemoteFile, path: Path) -> bool:  # noqa: ARG002 - as every client
        """Return whether a local file has the contents that the hub lists."""
        try:
            return path.stat().st_size == file.size and bool(verified_sha256(path, file))
        except TransferError:
            return False

    def fetch_file(
        self, request: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> str:
        """Fetch one file, resuming it; verify it; move it into the SDK's cache."""
        partial = self.partial(request, folder, file)
        commit = file.commit or revision
        complete = partial.with_suffix("")
        with self._lock_of(complete):  # files with the same contents share a blob
            sha256 = self._fetch_verified(request, file, partial, meter)
            if request.local_dir is None:
                self._link_blob(folder, file, complete)
        if request.local_dir is None:
            self._record_commit(request, revision, commit)
        return sha256

    def _lock_of(self, path: Path) -> threading.Lock:
        with self._writing:
            return self._locks.setdefault(path, threading.Lock())

    def _fetch_verified(
        self, request: DownloadRequest, file: RemoteFile, partial: Path, meter: Meter
    ) -> str:
        """Transfer a file unless it is complete; return its sha256."""
        complete, sha256 = partial.with_suffix(""), None
        if complete.is_file():
            with contextlib.suppress(TransferError):
                sha256 = verified_sha256(complete, file)
        for attempt in range(1, HASH_ATTEMPTS + 1):
            if sha256 is not None:
                break
            partial.parent.mkdir(parents=True, exist_ok=True)
            self._transfer(request, file, partial, meter)
            try:
                sha256 = verified_sha256(partial, file)
                partial.replace(complete)
            except TransferError:
                partial.unlink(missing_ok=True)
                if attempt == HASH_ATTEMPTS:
                    raise
        return str(sha256)

    def _transfer(
        self, request: DownloadRequest, file: RemoteFile, partial: Path, meter: Meter
    ) -> None:
        """Append the missing bytes of a file as they arrive, so that an interruption loses none."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        kind = None if request.kind == "model" else request.kind
        url = hf_hub_url(
            request.id, file.path, repo_type=kind, revision=file.commit, endpoint=self.endpoint
        )
        present = partial.stat().st_size if partial.exists() else 0
        if present > file.size:
            present = 0
        headers = {**build_hf_headers(token=self._token), "Accept-Encoding": "identity"}
        if present:
            headers["Range"] = f"bytes={present}-"
        try:
            with partial.open("ab") as out:
                if present < file.size:
                    with get_session().stream(
                        "GET",
                        url,
                        headers=headers,
                        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                        follow_redirects=True,  # to the storage; the token is not sent there
                    ) as answer:
                        hf_raise_for_status(answer)
                        range_start = f"bytes {present}-"
                        if not answer.headers.get("Content-Range", "").startswith(range_start):
                            present = 0
                        _append(answer, out, file, present, meter)
        except Exception as error:
            raise transfer_error_of(error) from error
        if (size := partial.stat().st_size) != file.size:
            raise TransferError(
                "passing", f"{file.path}: {size} of {file.size} bytes were received"
            )

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


def _append(answer: Any, out: BinaryIO, file: RemoteFile, present: int, meter: Meter) -> None:
    """Write the received bytes after those present; discard anything beyond the file's size."""
    out.truncate(present)
    out.seek(present)
    meter.add(file.path, present - meter.present.get(file.path, 0))
    position = present
    for part in answer.iter_bytes():
        position += len(part)
        if position > file.size:
            out.truncate(0)
            raise TransferError(
                "corrupt", f"{file.path}: more than the listed {file.size} bytes were received"
            )
        out.write(part)
        meter.add(file.path, len(part))


def verified_sha256(path: Path, file: RemoteFile) -> str:
    """Return the sha256 of a file; raise TransferError when it differs from the hub's listing.

    Small files are listed by git's blob hash only, which covers a header and the contents.
    """
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            sha256.update(block)
            if file.sha256 is None:
                git.update(block)
    digest = sha256.hexdigest()
    is_wrong = file.sha256 is not None and file.sha256 != digest
    if is_wrong or (file.sha256 is None and file.blob not in (None, git.hexdigest())):
        raise TransferError("corrupt", f"{file.path}: the contents differ from the hub's listing")
    return digest


def transfer_error_of(error: Exception) -> TransferError:
    """Classify an error of the SDK; raise any other error again."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, TransferError):
        return error
    message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if kind_of(error) == DISK_FULL:
        return TransferError("full", message)
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
