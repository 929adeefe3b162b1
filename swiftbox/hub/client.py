"""What every hub's client offers; the SDKs behind them differ, and are loaded only when used."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from swiftbox.hub.listing import Listing, RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.models.download_request import DownloadRequest


class HubClient(Protocol):
    """One address of one hub; what the hub does wrong is raised as Trouble."""

    def listing(self, one: DownloadRequest) -> Listing:
        """Ask which files there are."""
        ...

    def folder(self, one: DownloadRequest, listing: Listing) -> Path:
        """Return where the hub's own tools would look for them; nothing is fetched."""
        ...

    def root(self, one: DownloadRequest, folder: Path) -> Path:
        """Return the folder that nothing may be written outside of."""
        ...

    def kept(self, one: DownloadRequest) -> list[Path]:
        """Return the folders where an earlier download of it may be, without asking the hub."""
        ...

    def partial(self, one: DownloadRequest, folder: Path, file: RemoteFile) -> Path:
        """Return where an unfinished file is kept."""
        ...

    def get(
        self, one: DownloadRequest, folder: Path, file: RemoteFile, revision: str, meter: Meter
    ) -> str:
        """Fetch one file whole, going on where an earlier attempt stopped; return its sha256."""
        ...
