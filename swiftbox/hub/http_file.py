"""One file over HTTP: received in parts, and compared with what the hub and the answer tell of it.

A request for the rest of a file is answered in four ways: with the rest (206), with the complete
file (200), with nothing because all of it is here (416 and the right length), or with nothing
because the part here is not the beginning of the file (416). Without a hash in the listing a part
is continued only if the server can tell that it is of the same version (If-Range).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.hub.foreign_contents import (
    head_of,
    is_readable,
    page_error,
    require_contents,
    sent_page,
)
from swiftbox.hub.listing import RemoteFile
from swiftbox.hub.progress import Meter
from swiftbox.hub.transfer_errors import TransferError
from swiftbox.language import text
from swiftbox.models.verified import BLOCK_BYTES, Confirmation
from swiftbox.security.paths import SHA1_LENGTH, SHA256_LENGTH

PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416

LONGEST_COUNT = 18
"""Digits of a number of bytes: Python refuses to read thousands of them."""

Open = Callable[[dict[str, str]], AbstractContextManager[Any]]
"""Requests a file with further headers; yields the answer, and raises for all but 2xx and 416."""


@dataclass(frozen=True)
class ServedFile:
    """What an answer tells of the complete file; None for what it does not tell."""

    size: int | None = None
    digest: str | None = None
    """A hash that the server vouches for: sha256, sha1 of git, or sha1."""
    entity_tag: str | None = None


@dataclass(frozen=True)
class FetchedFile:
    """A file that was received completely."""

    sha256: str
    confirmed_by: Confirmation


@dataclass
class HttpFile:
    """A file on its way into `partial`; an instance lives as long as its download."""

    file: RemoteFile
    partial: Path
    meter: Meter
    served: ServedFile = field(default_factory=ServedFile)

    def receive(self, request: Open) -> None:
        """Append the missing bytes as they arrive, so that an interruption loses none."""
        if not self._receive_once(request):
            self.partial.unlink(missing_ok=True)
            if not self._receive_once(request):
                raise TransferError(
                    "corrupt",
                    text(
                        f"{self.file.path}: a part was sent in place of the complete file",
                        f"{self.file.path}：收到的是片段而非完整文件",
                    ),
                )
        self._require_size()

    def _receive_once(self, request: Open) -> bool:
        """Request the missing bytes; return False if the part here cannot be continued."""
        present = self._usable_bytes()
        if present and present == self.file.size:
            return True
        with self.partial.open("ab") as out, request(self._headers(present)) as answer:
            if answer.status_code == RANGE_NOT_SATISFIABLE:
                return bool(present) and _size_of_range(answer) == present
            begin = _begin(answer)
            is_encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
            is_unclear = answer.status_code == PARTIAL_CONTENT and begin is None
            if is_unclear or begin not in (None, 0, present) or (begin and is_encoded):
                return False
            self.served = served_file(answer)
            self._append(answer, out, begin or 0)
        return True

    def _usable_bytes(self) -> int:
        """Return how many bytes here may be the beginning of the file."""
        present = self.partial.stat().st_size if self.partial.exists() else 0
        limit = self.file.size if self.file.size is not None else present
        if present > limit or not (self.file.has_hash or self.served.entity_tag):
            return 0
        return present

    def _headers(self, present: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if present:
            headers["Range"] = f"bytes={present}-"
        if present and not self.file.has_hash:
            headers["If-Range"] = str(self.served.entity_tag)
        return headers

    def _append(self, answer: Any, out: BinaryIO, begin: int) -> None:
        """Write the received bytes after the first `begin`."""
        size, position = self.file.size, begin
        out.truncate(begin)
        out.seek(begin)
        self.meter.expect(self.file.path, self.served.size)
        self.meter.add(self.file.path, begin - self.meter.present.get(self.file.path, 0))
        for part in answer.iter_bytes():
            is_other = self.served.size not in (None, size) or not self.file.has_hash
            if not position and is_other and sent_page(self.file.path, part):
                raise page_error(self.file.path)
            position += len(part)
            if size is not None and position > size:
                out.truncate(0)
                raise self._wrong_size(text(f"more than {size}", f"超过 {size}"))
            out.write(part)
            self.meter.add(self.file.path, len(part))

    def _require_size(self) -> None:
        """Raise TransferError for a file that is shorter than announced."""
        received = self.partial.stat().st_size
        size = self.served.size if self.file.size is None else self.file.size
        if size is None or received == size:
            return
        if received == self.served.size:
            head = head_of(self.partial)
            self.partial.unlink()
            require_contents(self.file.path, head, is_confirmed=False)
            raise self._wrong_size(str(received))
        raise TransferError(
            "passing",
            text(
                f"{self.file.path}: {received} of {size} bytes were received",
                f"{self.file.path}：收到 {size} 个字节中的 {received} 个",
            ),
        )

    def _wrong_size(self, received: str) -> TransferError:
        size = self.file.size
        return TransferError(
            "corrupt",
            text(
                f"{self.file.path}: {received} bytes were received, {size} are listed",
                f"{self.file.path}：收到 {received} 个字节，社区列出的是 {size} 个",
            ),
        )

    def confirm(self, path: Path) -> FetchedFile:
        """Return what confirms a complete file; raise TransferError if it is another one."""
        file, served = self.file, self.served.digest or ""
        has_sha256 = bool(file.sha256) or len(served) == SHA256_LENGTH
        hashes = hashes_of(path, is_sha256_enough=has_sha256 and not file.blob)
        is_listed = file.sha256 == hashes[0] or (file.sha256 is None and file.blob in hashes)
        # For a large file some mirrors list git's hash of the pointer alone.
        is_confirmed = is_listed or (file.sha256 is None and served in hashes)
        require_contents(file.path, head_of(path), is_confirmed=is_confirmed)
        has_hash = file.has_hash or bool(served)
        if not is_confirmed and (has_hash or not is_readable(file.path, path)):
            raise TransferError(
                "corrupt",
                text(
                    f"{file.path}: the contents differ from the hub's listing",
                    f"{file.path}：内容与社区列出的不一致",
                ),
            )
        if is_confirmed:
            return FetchedFile(hashes[0], "hash")
        has_length = file.size is not None or self.served.size is not None
        return FetchedFile(hashes[0], "length" if has_length else "nothing")


def hashes_of(path: Path, *, is_sha256_enough: bool) -> tuple[str, ...]:
    """Return the sha256 of a file, git's hash, which covers a header too, and the plain sha1."""
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    digests = [hashlib.sha256()]
    if not is_sha256_enough:
        digests += [git, hashlib.sha1(usedforsecurity=False)]
    with path.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            for digest in digests:
                digest.update(block)
    return tuple(digest.hexdigest() for digest in digests)


def served_file(answer: Any) -> ServedFile:
    """Return what an answer tells of the file, and the redirects that led to it.

    A hub names the hash of a large file in X-Linked-Etag. An ETag is a hash where the answer is a
    hub's, which names the commit too; elsewhere it may be anything.
    """
    answers = (*answer.history, answer)
    linked = [each.headers.get("X-Linked-Etag") for each in answers]
    tags = [each.headers.get("ETag") for each in answers if "X-Repo-Commit" in each.headers]
    digests = [digest for digest in map(_digest, (*linked, *tags)) if digest]
    return ServedFile(
        size=_size_of_range(answer) if "Content-Range" in answer.headers else _length(answer),
        digest=digests[0] if digests else None,
        entity_tag=answer.headers.get("ETag"),
    )


def _digest(tag: str | None) -> str | None:
    """Return the hash that an entity tag is, if it is one."""
    value = (tag or "").removeprefix("W/").strip('"').lower()
    is_hash = re.fullmatch(rf"[0-9a-f]{{{SHA1_LENGTH}}}|[0-9a-f]{{{SHA256_LENGTH}}}", value)
    return value if is_hash else None


def _length(answer: Any) -> int | None:
    """Return the length of an answer that is not compressed on the way."""
    is_plain = answer.headers.get("Content-Encoding", "identity") == "identity"
    return _count(answer.headers.get("Content-Length", "")) if is_plain else None


def _begin(answer: Any) -> int | None:
    """Return the position in the file of an answer's first byte, if it tells one."""
    begin = re.match(rf"bytes (\d{{1,{LONGEST_COUNT}}})-", answer.headers.get("Content-Range", ""))
    return int(begin[1]) if begin else None


def _size_of_range(answer: Any) -> int | None:
    """Return the size of the complete file according to Content-Range."""
    return _count(answer.headers.get("Content-Range", "").rpartition("/")[2])


def _count(value: str) -> int | None:
    """Return a number of bytes; None if it is not one."""
    return int(value) if value.isdecimal() and len(value) <= LONGEST_COUNT else None
