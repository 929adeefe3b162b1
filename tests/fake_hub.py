"""A hub on loopback: ModelScope's and Hugging Face's routes, several repositories, and faults.

Contents are made while they are sent, so that a repository may be larger than memory.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from box import HANG_S
from hub_contents import Made, contents

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """A model or dataset; a private one wants its token."""

    id: str
    files: Mapping[str, bytes | Made]
    kind: str = "model"
    token: str | None = None
    downloads: int = 1000
    license: str = "apache-2.0"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, once, with a file: at which byte, or with which status."""

    kind: str
    """cut | corrupt | stall | hold (until the hub is released) | status"""
    at: int = 0
    status: int = 503
    retry_after: str | None = None


@dataclass
class Asked:
    """One request, and how many bytes of a file were handed to the network."""

    method: str
    path: str
    file: str | None = None
    begin: int = 0
    ranged: bool = False
    status: int = 0
    sent: int = 0
    token: str | None = None
    credentials: tuple[str, ...] = ()
    """The headers that could hold a secret."""


@dataclass
class Hub:
    """A hub under way."""

    repositories: list[Repository]
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    send_buffer: int = 256 * 2**10
    broken: int = 0
    """A status that answers everything, where not 0."""
    storage: str = ""
    """The address of another server to which requests for files are redirected."""
    address: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: str) -> list[Asked]:
        """Return the requests for a file's bytes."""
        return [entry for entry in self.log if entry.file == path and entry.method == "GET"]

    def requests_to(self, part: str) -> list[Asked]:
        return [entry for entry in self.log if part in entry.path]

    def sent(self, path: str) -> int:
        return sum(entry.sent for entry in self.of(path))

    def find(self, name: str, kind: str) -> Repository | None:
        return next((r for r in self.repositories if (r.id, r.kind) == (name, kind)), None)

    def fault(self, path: str, begin: int) -> Fault | None:
        with self.lock:
            faults = self.faults.get(path, [])
            for fault in faults:
                is_corrupt = fault.kind == "corrupt" and not begin
                if fault.kind == "status" or fault.at > begin or is_corrupt:
                    faults.remove(fault)
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.hub.send_buffer)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that is killed says no farewell
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        url = urlparse(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        credentials = tuple(
            f"{name}: {self.headers[name]}"
            for name in ("Authorization", "Cookie", "Proxy-Authorization")
            if self.headers[name]
        )
        self.entry = Asked(self.command, self.path, token=token, credentials=credentials)
        self.hub.log.append(self.entry)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path)
        if self.hub.broken:
            self.say({"Code": self.hub.broken, "Message": "broken"}, self.hub.broken)
            return
        for pattern, act in ROUTES:
            if repository := re.fullmatch(pattern, path):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    getattr(self, act)(query, *repository.groups())
                return
        self.say({"Code": 404, "Message": "no such page"}, 404)

    def repository(self, name: str, kind: str) -> Repository | None:
        """Find a repository; answer in its stead when it is not there, or not for this token."""
        repository = self.hub.find(name, kind.removesuffix("s"))
        if repository is None:
            headers = {"X-Error-Code": "RepoNotFound"}
            self.say({"Code": 10010205001, "Message": "not found"}, 404, headers)
        elif repository.token and self.entry.token != repository.token:
            self.say({"Code": 10010101001, "Message": "unauthorized"}, 401)
            repository = None
        return repository

    def say(self, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(data).encode()
        self.entry.status = status
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def data(self, data: Any) -> None:
        self.say({"Code": 200, "Success": True, "Message": "", "Data": data})

    def send_file(self, repository: Repository, path: str, headers: Mapping[str, str]) -> None:
        if path not in repository.files:
            self.say({"Code": 404, "Message": "no file"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = contents(repository.files[path])
        if self.hub.storage:
            linked = {"X-Linked-ETag": f'"{content.sha256}"', "X-Linked-Size": str(content.size)}
            location = {"Location": f"{self.hub.storage}{self.path}"}
            self.say({}, 302, {**headers, **linked, **location})
            return
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        begin = int(requested[1]) if requested else 0
        self.entry.file, self.entry.begin, self.entry.ranged = path, begin, bool(requested)
        fault = self.hub.fault(path, begin) if self.command == "GET" else None
        if fault and fault.kind == "status":
            after = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self.say({"Code": fault.status, "Message": "busy"}, fault.status, after)
            return
        self.entry.status = 206 if requested else 200
        self.send_response(self.entry.status)
        self.send_header("Content-Length", str(content.size - begin))
        self.send_header("Accept-Ranges", "bytes")
        if requested:
            self.send_header("Content-Range", f"bytes {begin}-{content.size - 1}/{content.size}")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.stream(content, begin, fault)

    def stream(self, content: Made, begin: int, fault: Fault | None) -> None:
        at = begin
        for right in content.pieces(begin):
            piece, end = right, at + len(right)
            if fault and fault.kind == "corrupt" and at <= fault.at < end:
                changed = bytearray(right)
                changed[fault.at - at] ^= 1
                piece = memoryview(changed)
            if fault and fault.kind in ("cut", "stall") and fault.at <= end:
                self.write(piece[: fault.at - at])
                if fault.kind == "stall":
                    self.hub.closing.wait(HANG_S)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault and fault.kind == "hold" and at <= fault.at < end:
                self.write(piece[: fault.at - at])
                self.hub.released.wait(HANG_S)
                piece = piece[fault.at - at :]
            self.write(piece)
            at = end

    def write(self, piece: memoryview) -> None:
        for offset in range(0, len(piece), 2**18):
            part = piece[offset : offset + 2**18]
            self.wfile.write(part)
            self.entry.sent += len(part)

    # ---- ModelScope

    def files(self, query: Mapping[str, str], kind: str, name: str, _: str) -> None:
        if repository := self.repository(name, kind):
            rows = [row_of(path, contents(entry)) for path, entry in repository.files.items()]
            number, count = int(query.get("PageNumber", 1)), int(query.get("PageSize", 10**6))
            self.data({"Files": rows[(number - 1) * count : number * count]})

    def file(self, query: Mapping[str, str], kind: str, name: str) -> None:
        if repository := self.repository(name, kind):
            self.send_file(repository, query.get("FilePath", ""), {})

    def revisions(self, _: Mapping[str, str], kind: str, name: str) -> None:
        if self.repository(name, kind):
            branch = {"Revision": "master", "CreatedAt": 1}
            self.data({"RevisionMap": {"Branches": [branch], "Tags": []}})

    def info(self, _: Mapping[str, str], kind: str, name: str) -> None:
        if repository := self.repository(name, kind):
            owner, _, short = repository.id.partition("/")
            self.data({"Path": owner, "Name": short, "Id": 1, "License": repository.license})

    def openapi_search(self, query: Mapping[str, str], kind: str) -> None:
        query_text = query.get("search", "").lower()
        repositories = [r for r in self.hub.repositories if f"{r.kind}s" == kind]
        rows = [summary_of(r) for r in repositories if query_text in r.id.lower()]
        rows.sort(key=lambda row: -row["downloads"])
        number, count = int(query.get("page_number", 1)), int(query.get("page_size", 10))
        page = rows[(number - 1) * count : number * count]
        self.say({"success": True, "data": {kind: page, "total_count": len(rows)}})

    def openapi_one(self, _: Mapping[str, str], kind: str, name: str) -> None:
        if repository := self.repository(name, kind):
            self.say({"success": True, "data": summary_of(repository)})

    # ---- Hugging Face

    def hf_info(self, _: Mapping[str, str], kind: str, name: str, revision: str) -> None:
        if revision not in ("", "main", COMMIT):
            self.say({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif repository := self.repository(name, kind):
            rows = [sibling_of(path, contents(entry)) for path, entry in repository.files.items()]
            self.say({"id": repository.id, "sha": COMMIT, "siblings": rows, "tags": []})

    def hf_tree(self, _: Mapping[str, str], kind: str, name: str, __: str) -> None:
        if repository := self.repository(name, kind):
            files = repository.files.items()
            self.say([tree_row_of(sibling_of(path, contents(entry))) for path, entry in files])

    def hf_file(
        self, _: Mapping[str, str], datasets: str | None, name: str, __: str, path: str
    ) -> None:
        if repository := self.repository(name, "dataset" if datasets else "model"):
            if path not in repository.files:
                self.say({}, 404, {"X-Error-Code": "EntryNotFound"})
                return
            content = contents(repository.files[path])
            etag = content.sha256 if is_large(path) else content.blob
            self.send_file(repository, path, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})


ID = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str]] = [
    (rf"/api/v1/(models|datasets)/{ID}/repo/(files|tree)", "files"),
    (rf"/api/v1/(models|datasets)/{ID}/repo", "file"),
    (rf"/api/v1/(models|datasets)/{ID}/revisions", "revisions"),
    (rf"/api/v1/(models|datasets)/{ID}", "info"),
    (r"/openapi/v1/(models|datasets)", "openapi_search"),
    (rf"/openapi/v1/(models|datasets)/{ID}", "openapi_one"),
    (rf"/api/(models|datasets)/{ID}/tree/([^/]+)", "hf_tree"),
    (rf"/api/(models|datasets)/{ID}(?:/revision/)?([^/]*)", "hf_info"),
    (rf"/(datasets/)?{ID}/resolve/([^/]+)/(.+)", "hf_file"),
]


def row_of(path: str, content: Made) -> dict[str, Any]:
    return {
        "Path": path,
        "Name": path.rsplit("/", 1)[-1],
        "Type": "blob",
        "Size": content.size,
        "Sha256": content.sha256,
        "Revision": COMMIT,
        "CommittedDate": 1700000000,
    }


def sibling_of(path: str, content: Made) -> dict[str, Any]:
    row: dict[str, Any] = {"rfilename": path, "size": content.size, "blobId": content.blob}
    if is_large(path):
        row["lfs"] = {"sha256": content.sha256, "size": content.size, "pointerSize": 130}
    return row


def tree_row_of(sibling: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the tree, from which the hub's own client downloads, for one of the info."""
    row = {"type": "file", "path": sibling["rfilename"]}
    names = {"size": "size", "blobId": "oid"}
    row |= {names[key]: value for key, value in sibling.items() if key in names}
    if "lfs" in sibling:
        row["lfs"] = {**sibling["lfs"], "oid": sibling["lfs"]["sha256"]}
    return row


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".gguf"))


def summary_of(entry: Repository) -> dict[str, Any]:
    return {
        "id": entry.id,
        "downloads": entry.downloads,
        "license": entry.license,
        "file_size": sum(contents(file).size for file in entry.files.values()),
        "tasks": ["text-generation"],
    }


@contextlib.contextmanager
def hub(
    *repositories: Repository,
    handler: type[Handler] = Handler,
    tls: ssl.SSLContext | None = None,
    **settings: Any,
) -> Iterator[Hub]:
    """Serve repositories; yield the hub with its address, its faults to come and its log."""
    repository = Hub(list(repositories), **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Its", (handler,), {"hub": repository}))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    repository.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield repository
    finally:
        repository.closing.set()
        repository.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def nobody() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
