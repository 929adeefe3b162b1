"""Hugging Face through its own SDK: its listing, its transfer, its cache on disk.

huggingface_hub 2.4 drops what it has of a file when it fails (huggingface_hub#4228), so a file is
put together here, over the SDK's own connection, and handed over to its cache whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.files import write_atomic
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError, error_of_status
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import BLOCK_BYTES
from swiftbox.runs.diagnosis import DISK_FULL, kind_of

ATTEMPTS_AT_A_HASH = 3
"""As ModelScope's SDK has it: a wrong copy on one node of a network is met again by chance."""


class HuggingFace:
    """One address of Hugging Face, or of a mirror."""

    def __init__(self, endpoint: str) -> None:
        for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_TELEMETRY"):
            os.environ.setdefault(name, "1")
        from huggingface_hub import HfApi

        self.endpoint = endpoint
        self._writing = threading.Lock()
        self.api: Any = HfApi(endpoint=endpoint)

    def listing(self, one: DownloadRequest) -> Listing:
        """Ask which files there are, at the commit that the revision is now."""
        revision = one.revision or "main"
        ask = self.api.model_info if one.kind == "model" else self.api.dataset_info
        try:
            found = ask(one.id, revision=revision, files_metadata=True)
        except Exception as error:
            raise transfer_error_of(error) from error
        files = tuple(
            RemoteFile(
                path=row.rfilename,
                size=int(row.size or 0),
                sha256=row.lfs.sha256 if row.lfs else None,
                blob=row.blob_id,
                commit=found.sha,
            )
            for row in found.siblings or ()
        )
        return Listing(files, revision, found.sha)

    def folder(self, one: DownloadRequest, listing: Listing) -> Path:
        """Return the snapshot's folder in the SDK's cache, or `local_dir`."""
        if one.local_dir is not None:
            return one.local_dir
        return self._storage(one) / "snapshots" / str(listing.commit)

    def root(self, one: DownloadRequest, folder: Path) -> Path:
        """Return the folder in the cache, where links lead to blobs, or `local_dir`."""
        return folder if one.local_dir is not None else self._storage(one)

    def kept(self, one: DownloadRequest) -> list[Path]:
        """Return the snapshots of the revision, of which the SDK's cache keeps the commit."""
        if one.local_dir is not None:
            return [one.local_dir]
        revision = one.revision or "main"
        reference = self._storage(one) / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        return [self._storage(one) / "snapshots" / commit]

    def _storage(self, one: DownloadRequest) -> Path:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name: str = repo_folder_name(repo_id=one.id, repo_type=one.kind)
        return Path(constants.HF_HUB_CACHE) / name

    def partial(self, one: DownloadRequest, folder: Path, file: RemoteFile) -> Path:
        """Return where an unfinished file is kept: beside the blobs, or in the folder."""
        if one.local_dir is not None:
            return folder / f"{file.path}.incomplete"
        return self._storage(one) / "blobs" / f"{file.sha256 or file.blob}.incomplete"

    def get(
        self, one: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> str:
        """Fetch one file, going on where it stopped; check it; hand it to the SDK's cache."""
        partial = self.partial(one, folder, file)
        commit = file.commit or revision
        whole = partial.with_suffix("") if one.local_dir is None else folder / file.path
        sha256 = None
        if whole.is_file():
            with contextlib.suppress(TransferError):
                sha256 = checked(whole, file)
        for attempt in range(1, ATTEMPTS_AT_A_HASH + 1):
            if sha256 is not None:
                break
            partial.parent.mkdir(parents=True, exist_ok=True)
            self._transfer(one, file, partial, commit, meter)
            try:
                sha256 = checked(partial, file)
                partial.replace(whole)
            except TransferError:
                partial.unlink(missing_ok=True)
                if attempt == ATTEMPTS_AT_A_HASH:
                    raise
        if one.local_dir is None:
            self._point(one, file, commit)
            self._refer(one, revision, commit)
        return str(sha256)

    def _transfer(
        self, one: DownloadRequest, file: RemoteFile, partial: Path, commit: str, meter: Meter
    ) -> None:
        """Append what is missing of a file, byte by byte as it comes, so that no cut loses any."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        kind = None if one.kind == "model" else one.kind
        url = hf_hub_url(one.id, file.path, repo_type=kind, revision=commit, endpoint=self.endpoint)
        already = partial.stat().st_size if partial.exists() else 0
        if already > file.size:
            already = 0
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if already:
            headers["Range"] = f"bytes={already}-"
        try:
            with partial.open("ab") as out:
                if already < file.size:
                    with get_session().stream(
                        "GET",
                        url,
                        headers=headers,
                        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                        follow_redirects=True,  # to where the bytes are; the token stays here
                    ) as answer:
                        hf_raise_for_status(answer)
                        begins = f"bytes {already}-"
                        if not answer.headers.get("Content-Range", "").startswith(begins):
                            already = 0
                        _append(answer, out, file, already, meter)
        except Exception as error:
            raise transfer_error_of(error) from error
        if (size := partial.stat().st_size) != file.size:
            raise TransferError("passing", f"{file.path}: {size} of {file.size} bytes came")

    def _refer(self, one: DownloadRequest, revision: str, commit: str) -> None:
        """Note which commit a branch was, as the SDK does: without a network that is asked."""
        reference = self._storage(one) / "refs" / revision
        if revision == commit or (reference.is_file() and reference.read_text("utf-8") == commit):
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        with self._writing:
            write_atomic(reference, commit)

    def _point(self, one: DownloadRequest, file: RemoteFile, commit: str) -> None:
        """Let the SDK find the blob that is there, and point to it as it does."""
        from huggingface_hub import hf_hub_download

        kind = None if one.kind == "model" else one.kind
        try:
            hf_hub_download(
                one.id, file.path, repo_type=kind, revision=commit, endpoint=self.endpoint
            )
        except Exception as error:
            raise transfer_error_of(error) from error


def _append(answer: Any, out: BinaryIO, file: RemoteFile, already: int, meter: Meter) -> None:
    """Write what comes behind the bytes that are there; throw away what is no part of the file."""
    out.truncate(already)
    out.seek(already)
    meter.add(file.path, already - meter.present.get(file.path, 0))
    at = already
    for part in answer.iter_bytes():
        at += len(part)
        if at > file.size:
            out.truncate(0)
            raise TransferError(
                "corrupt", f"{file.path}: more came than the {file.size} bytes listed"
            )
        out.write(part)
        meter.add(file.path, len(part))


def checked(path: Path, file: RemoteFile) -> str:
    """Return the sha256 of a file; raise Trouble when it is not what the hub lists.

    Small files are listed by git's own hash alone, which is of a header and the contents.
    """
    whole = hashlib.sha256()
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            whole.update(block)
            if file.sha256 is None:
                git.update(block)
    found = whole.hexdigest()
    wrong = file.sha256 is not None and file.sha256 != found
    if wrong or (file.sha256 is None and file.blob not in (None, git.hexdigest())):
        raise TransferError(
            "corrupt", f"{file.path}: the contents are not those that the hub lists"
        )
    return found


def transfer_error_of(error: Exception) -> TransferError:
    """Return what an error of the SDK means; raise it on when it is none of its errors."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, TransferError):
        return error
    words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if kind_of(error) == DISK_FULL:
        return TransferError("full", words)
    if isinstance(error, errors.GatedRepoError):
        return TransferError("denied", words)
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        after = error.response.headers.get("Retry-After", "")
        return error_of_status(
            error.response.status_code, words, float(after) if after.isdigit() else None
        )
    if isinstance(error, (httpx2.HTTPError, ConnectionError, TimeoutError)):
        return TransferError("passing", words)
    raise error
