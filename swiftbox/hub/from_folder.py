"""A folder on this machine as a hub: its files are copied, and a broken copy is gone on with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from swiftbox.errors import HubError
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.language import text
from swiftbox.models.download_request import DownloadRequest
from swiftbox.models.verified import BLOCK_BYTES, MARKER, sha256_of


class Folder:
    """Copies from a folder; the id of what is wanted is its path."""

    def listing(self, one: DownloadRequest) -> Listing:
        """Look which files there are; hidden folders are no part of a model."""
        root = Path(one.id)
        found = [
            path
            for path in sorted(root.rglob("*"))
            if path.is_file() and not any(part[0] == "." for part in path.relative_to(root).parts)
        ]
        files = [
            RemoteFile(path.relative_to(root).as_posix(), path.stat().st_size)
            for path in found
            if path.name != MARKER
        ]
        if not files:
            raise HubError(text(f"no files in {root}", f"{root} 中没有文件"))
        return Listing(tuple(files), "", None)

    def folder(self, one: DownloadRequest, listing: Listing) -> Path:  # noqa: ARG002 - as every client
        """Return where the copy goes; without a place of its own it is used where it is."""
        return one.local_dir or Path(one.id)

    def root(self, one: DownloadRequest, folder: Path) -> Path:  # noqa: ARG002 - as every client
        """Return the copy's folder."""
        return folder

    def kept(self, one: DownloadRequest) -> list[Path]:
        """Return the copy's folder."""
        return [one.local_dir or Path(one.id)]

    def partial(self, one: DownloadRequest, folder: Path, file: RemoteFile) -> Path:  # noqa: ARG002
        """Return where an unfinished copy is kept."""
        return folder / f"{file.path}.incomplete"

    def get(
        self,
        one: DownloadRequest,
        folder: Path,
        file: RemoteFile,
        revision: str,  # noqa: ARG002 - as every client
        meter: Meter,
    ) -> str:
        """Copy one file, going on where it stopped; a beginning that differs is thrown away."""
        source, target = Path(one.id) / file.path, folder / file.path
        if source.resolve() == target.resolve() or _same(source, target):
            return sha256_of(target)
        partial = self.partial(one, folder, file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        begun = partial.stat().st_size if partial.exists() else 0
        if not 0 < begun <= file.size or sha256_of(partial) != _beginning(source, begun, digest):
            partial.unlink(missing_ok=True)
            begun, digest = 0, hashlib.sha256()
        meter.add(file.path, begun - meter.present.get(file.path, 0))
        with source.open("rb") as reading, partial.open("ab") as writing:
            reading.seek(begun)
            while block := reading.read(BLOCK_BYTES):
                writing.write(block)
                digest.update(block)
                meter.add(file.path, len(block))
        partial.replace(target)
        return digest.hexdigest()


def _same(source: Path, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        return False
    return sha256_of(source) == sha256_of(target)


def _beginning(source: Path, count: int, digest: hashlib._Hash) -> str:
    """Hash the first bytes of a file into `digest`; return what they give."""
    left = count
    with source.open("rb") as file:
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    return digest.copy().hexdigest()
