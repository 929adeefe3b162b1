"""The interface of a hub's client; the SDKs behind it differ and are imported only when used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from swiftbox.hub.http_file import FetchedFile
from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.models.download_request import DownloadRequest


class HubClient(Protocol):
    """One endpoint of one hub; its failures are raised as TransferError."""

    withholds_token: bool
    """Whether there is a token that this endpoint may not have."""

    def listing(self, request: DownloadRequest) -> Listing:
        """Ask the hub for the repository's files."""
        ...

    def folder(self, request: DownloadRequest, listing: Listing) -> Path:
        """Return the folder where the hub's own tools expect the files; fetches nothing."""
        ...

    def root(self, request: DownloadRequest, folder: Path) -> Path:
        """Return the folder outside of which nothing may be written."""
        ...

    def downloaded_folders(self, request: DownloadRequest) -> list[Path]:
        """Return the folders where an earlier download may be, without asking the hub."""
        ...

    def partial(self, request: DownloadRequest, folder: Path, file: RemoteFile) -> Path:
        """Return the path of an unfinished file."""
        ...

    def take_over(
        self, request: DownloadRequest, folder: Path, files: Sequence[RemoteFile]
    ) -> None:
        """Continue what processes that ended have begun of files."""
        ...

    def clean_up(self, folder: Path) -> None:
        """Delete what is not needed when all files are complete."""
        ...

    def has_contents(self, request: DownloadRequest, file: RemoteFile, path: Path) -> bool:
        """Return whether a local file has the contents that the hub lists."""
        ...

    def fetch_file(
        self,
        request: DownloadRequest,
        folder: Path,
        file: RemoteFile,
        revision: str,
        meter: Meter,
    ) -> FetchedFile:
        """Fetch one file completely, resuming an earlier attempt; return what confirms it."""
        ...
