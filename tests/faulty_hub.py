"""A hub on loopback that errs as hubs, mirrors and networks do: in its listing or in its files.

The fault of the moment is in `FaultyHandler.fault`; `FAULTS` names those that are tried.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fake_hub import COMMIT, Handler, Repository, is_large, row_of, sibling_of, tree_row_of
from hub_contents import Made, contents

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Wi-Fi</body></html>\n"

FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
INDEX = "model.safetensors.index.json"
TEXTS = json.dumps([{"id": number} for number in range(3000)]).encode()

SIZE = 200_000


def weights(seed: int) -> bytes:
    """Return a safetensors file of one tensor."""
    tensor = {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}
    header = json.dumps({"a": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + Made(SIZE, seed).data()


FILES: dict[str, bytes | Made] = {
    "config.json": b'{"model_type": "qwen3"}',
    "empty.txt": b"",
    INDEX: json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode(),
    "tokenizer.json": TEXTS,
    FIRST: weights(1),
    SECOND: weights(2),
}


def pointer_to(content: Made) -> bytes:
    """Return what git-lfs stores in place of a file."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        content.sha256.encode(),
        content.size,
    )


@dataclass(frozen=True)
class Faulty:
    """How a hub errs; each default is what a hub does that does not."""

    size: str = "right"
    """right | absent | null | zero: the sizes in its listing."""
    has_hashes: bool = True
    """Whether its listing has hashes."""
    has_etag: bool = True
    has_commit_header: bool = True
    has_commit: bool = True
    """Whether its listing names the commit."""
    has_tree: bool = True
    listing: bytes | None = None
    """What it answers in place of a listing."""
    absent: str = ""
    """A file that it does not list."""
    twice: str = ""
    """A file that it lists twice."""
    file: str = FIRST
    """The file whose transfer is at fault."""
    body: bytes | None = None
    """What it sends in place of the file, with status 200 and a right Content-Length."""
    is_pointer: bool = False
    """Whether it sends, and lists, the pointer of git-lfs in place of the file."""
    length_off: int = 0
    """How much Content-Length is off."""
    has_length: bool = True
    cut_at: int = 0
    """Bytes after which the connection ends, at each request."""
    cuts: int = 0
    """How often the connection ends so."""
    ranges: str = "honoured"
    """honoured | ignored | unsatisfied (416) | never (always 416) | unnamed (no Content-Range)."""
    is_gzip: bool = False
    status: int = 0
    statuses: int = 0
    """How often it answers with `status`."""
    headers: Mapping[str, str] = field(default_factory=dict)


class FaultyHandler(Handler):
    """Answers as the fault of the moment says."""

    fault: ClassVar[Faulty] = Faulty()
    counts: ClassVar[dict[str, int]] = {}

    def first(self, what: str, times: int) -> bool:
        """Tell whether this is one of the first times of something."""
        self.counts[what] = self.counts.get(what, 0) + 1
        return self.counts[what] <= times

    def page(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def listed(self, repository: Repository) -> list[tuple[str, Made]]:
        """Return the files as they are listed."""
        fault = self.fault
        names = [name for name in repository.files if name != fault.absent]
        names += [fault.twice] if fault.twice else []
        return [(name, self.content_of(repository, name)) for name in names]

    def content_of(self, repository: Repository, name: str) -> Made:
        content = contents(repository.files[name])
        if self.fault.is_pointer and name == self.fault.file:
            return contents(pointer_to(content))
        return content

    def reduced(self, row: dict[str, Any], size: str) -> dict[str, Any]:
        """Leave out of a row what the hub does not tell."""
        fault, result = self.fault, dict(row)
        if fault.size == "absent":
            del result[size]
        elif fault.size != "right":
            result[size] = None if fault.size == "null" else 0
        if not fault.has_hashes:
            for name in ("Sha256", "blobId", "lfs"):
                result.pop(name, None)
        elif fault.size != "right" and "lfs" in result:
            result["lfs"] = {**result["lfs"], "size": 0}
        return result

    def files(self, query: Mapping[str, str], kind: str, name: str, _: str) -> None:
        if self.fault.listing is not None:
            self.page(self.fault.listing)
        elif repository := self.repository(name, kind):
            rows = [self.reduced(row_of(*file), "Size") for file in self.listed(repository)]
            if not self.fault.has_commit:
                for row in rows:
                    del row["Revision"]
            self.data({"Files": rows if query.get("PageNumber", "1") == "1" else []})

    def hf_info(self, _: Mapping[str, str], kind: str, name: str, __: str) -> None:
        if self.fault.listing is not None:
            self.page(self.fault.listing)
        elif repository := self.repository(name, kind):
            rows = [self.reduced(sibling_of(*file), "size") for file in self.listed(repository)]
            commit = {"sha": COMMIT} if self.fault.has_commit else {}
            self.say({"id": repository.id, **commit, "siblings": rows, "tags": []})

    def hf_tree(self, _: Mapping[str, str], kind: str, name: str, __: str) -> None:
        if not self.fault.has_tree:
            self.say({"error": "no such page"}, 404)
        elif self.fault.listing is not None:
            self.page(self.fault.listing)
        elif repository := self.repository(name, kind):
            rows = [self.reduced(sibling_of(*file), "size") for file in self.listed(repository)]
            self.say([tree_row_of(row) for row in rows])

    def hf_file(
        self, _: Mapping[str, str], datasets: str | None, name: str, __: str, path: str
    ) -> None:
        if repository := self.repository(name, "dataset" if datasets else "model"):
            headers = {}
            if path in repository.files and self.fault.has_etag:
                content = self.content_of(repository, path)
                headers["ETag"] = f'"{content.sha256 if is_large(path) else content.blob}"'
            if self.fault.has_commit_header:
                headers["X-Repo-Commit"] = COMMIT
            self.send_file(repository, path, headers)

    def send_file(self, repository: Repository, path: str, headers: Mapping[str, str]) -> None:
        fault = self.fault
        if path != fault.file or path not in repository.files:
            super().send_file(repository, path, headers)
            return
        self.entry.file = path
        if self.command == "GET" and self.first("status", fault.statuses):
            self.say({"Code": fault.status, "Message": "busy"}, fault.status, fault.headers)
            return
        body = self.content_of(repository, path).data() if fault.body is None else fault.body
        begin = self.asked_begin()
        is_always = fault.ranges == "never" and self.command == "GET"
        if (begin and fault.ranges == "unsatisfied") or is_always:
            self.say({}, 416, {"Content-Range": f"bytes */{len(body)}"})
            return
        if begin >= len(body) > 0:
            self.say({}, 416, {"Content-Range": f"bytes */{len(body)}"})
            return
        begin = 0 if fault.ranges == "ignored" else begin
        self.transfer(body, begin, headers)

    def asked_begin(self) -> int:
        requested = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=")
        self.entry.ranged = "Range" in self.headers
        return int(requested.partition("-")[0])

    def transfer(self, body: bytes, begin: int, headers: Mapping[str, str]) -> None:
        fault, part = self.fault, body[begin:]
        self.entry.begin, self.entry.status = begin, 206 if begin else 200
        self.send_response(self.entry.status)
        if begin and fault.ranges != "unnamed":
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if fault.is_gzip:
            part = gzip.compress(part)
            self.send_header("Content-Encoding", "gzip")
        if fault.has_length:
            self.send_header("Content-Length", str(len(part) + fault.length_off))
        else:
            self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        is_cut = self.command == "GET" and fault.cuts and self.first("cut", fault.cuts)
        if self.command == "GET":
            sent = part[: fault.cut_at] if is_cut else part
            self.wfile.write(sent)
            self.entry.sent += len(sent)
        if is_cut or not fault.has_length or fault.length_off:
            self.wfile.flush()
            with contextlib.suppress(OSError):  # the client was faster
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


def other_bytes(path: str) -> bytes:
    """Return contents of a file's size that differ from it."""
    content = bytearray(contents(FILES[path]).data())
    content[len(content) // 2] ^= 1
    return bytes(content)
