"""A folder on this machine as a hub: files are copied, and an interrupted copy is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.hub.http_file import FetchedFile
from swiftbox.hub.listing import UNFINISHED, Listing, RemoteFile, path_below, written_path
from swiftbox.hub.progress import Meter
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import BLOCK_BYTES, MARKER, sha256_of


class Folder:
    """Copies from a folder; the id of the request is its path."""

    withholds_token = False

    def listing(self, request: DownloadRequest) -> Listing:
        """List the files; hidden files and folders are not part of a model."""
        root = Path(request.id)
        paths = [
            path
            for path in sorted(root.rglob("*"))
            if path.is_file() and not any(part[0] == "." for part in path.relative_to(root).parts)
        ]
        files = [
            RemoteFile(path.relative_to(root).as_posix(), path.stat().st_size)
            for path in paths
            if path.name != MARKER
        ]
        if not files:
            raise HubError(
                text(f"no files in {root}", f"{root} 中没有文件"),
                hint=text("give the folder that holds the files", "请给出包含文件的目录"),
            )
        return Listing(tuple(files), "", None)

    def folder(self, request: DownloadRequest, listing: Listing) -> Path:  # noqa: ARG002 - as every client
        """Return where the copy goes; without `local_dir` the folder is used as it is."""
        return request.local_dir or Path(request.id)

    def root(self, request: DownloadRequest, folder: Path) -> Path:  # noqa: ARG002 - as every client
        """Return the copy's folder."""
        return folder

    def downloaded_folders(self, request: DownloadRequest) -> list[Path]:
        """Return the copy's folder."""
        return [request.local_dir or Path(request.id)]

    def partial(self, request: DownloadRequest, folder: Path, file: RemoteFile) -> Path:  # noqa: ARG002
        """Return the path of an unfinished copy."""
        return path_below(folder, file.path + UNFINISHED)

    def take_over(
        self, request: DownloadRequest, folder: Path, files: Sequence[RemoteFile]
    ) -> None:
        """Keep partial copies: they are compared with the source."""

    def clean_up(self, folder: Path) -> None:
        """Leave the folder as it is."""

    def has_contents(self, request: DownloadRequest, file: RemoteFile, path: Path) -> bool:
        """Return whether a local file has the contents of the folder's file."""
        return _same(Path(request.id) / file.path, path)

    def fetch_file(
        self,
        request: DownloadRequest,
        folder: Path,
        file: RemoteFile,
        revision: str,  # noqa: ARG002 - as every client
        meter: Meter,
    ) -> FetchedFile:
        """Copy one file, resuming a partial copy; discard a partial copy that differs."""
        # The source may have links to other folders, as the snapshots of a hub's cache do.
        source, target = Path(request.id) / file.path, written_path(folder, file.path)
        if source.resolve() == target.resolve() or _same(source, target):
            return FetchedFile(sha256_of(target), "hash")
        partial = self.partial(request, folder, file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        copied = partial.stat().st_size if partial.exists() else 0
        size = source.stat().st_size
        if not 0 < copied <= size or sha256_of(partial) != _hash_beginning(source, copied, digest):
            partial.unlink(missing_ok=True)
            copied, digest = 0, hashlib.sha256()
        meter.add(file.path, copied - meter.present.get(file.path, 0))
        with source.open("rb") as reading, partial.open("ab") as writing:
            reading.seek(copied)
            while block := reading.read(BLOCK_BYTES):
                writing.write(block)
                digest.update(block)
                meter.add(file.path, len(block))
        partial.replace(target)
        return FetchedFile(digest.hexdigest(), "hash")


def _same(source: Path, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        return False
    return sha256_of(source) == sha256_of(target)


def _hash_beginning(source: Path, count: int, digest: hashlib._Hash) -> str:
    """Hash the first bytes of a file into `digest`; return the hash so far."""
    remaining = count
    with source.open("rb") as file:
        while remaining and (block := file.read(min(remaining, BLOCK_BYTES))):
            digest.update(block)
            remaining -= len(block)
    return digest.copy().hexdigest()
