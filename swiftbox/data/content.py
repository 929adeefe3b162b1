"""The text of a file of rows as UTF-8, whatever its packing and encoding; and what was found."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from swiftbox.data.compression import packing_of, unpacked
from swiftbox.data.encodings import LABELS, UTF8, as_utf8, encoding_of
from swiftbox.data.foreign_files import HEAD_BYTES, foreign_error, kind_of_content
from swiftbox.security.regular import open_regular


@dataclass(frozen=True)
class FileContent:
    """How the bytes of a file become text."""

    packing: str | None = None
    encoding: str = UTF8
    has_mark: bool = False
    """Whether UTF-8 begins with a byte order mark, which is left out."""


def content_of(path: Path) -> FileContent:
    """Return how a file is read; it is looked at again only if it has changed.

    Raises DataError if it is something else than rows, OSError if it cannot be read.
    """
    stat = path.stat()
    return _content(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4096)
def _content(path: Path, _version: tuple[int, int, int]) -> FileContent:
    with open_regular(path) as file:
        packing = packing_of(file.read(HEAD_BYTES))

    def unpacked_file() -> BinaryIO:
        return unpacked(path, packing) if packing else cast("BinaryIO", open_regular(path))

    with unpacked_file() as file:
        head = file.read(HEAD_BYTES)
    if kind := kind_of_content(head, is_document=".txt" in path.suffixes):
        raise foreign_error(path, kind)
    encoding = encoding_of(unpacked_file, str(path))
    return FileContent(packing, encoding, encoding == UTF8 and head.startswith(BOM_UTF8))


def open_utf8(path: Path) -> BinaryIO:
    """Open the text of a file as UTF-8 bytes; raises as `content_of`."""
    content = content_of(path)
    file = unpacked(path, content.packing) if content.packing else path.open("rb")
    return file if content.encoding == UTF8 else as_utf8(file, content.encoding)


def content_notes(path: Path) -> list[tuple[str, str]]:
    """Return what is said about how a file is read, in both languages; nothing for plain UTF-8."""
    content = content_of(path)
    described = []
    if content.encoding in LABELS:
        label = LABELS[content.encoding]
        described.append((f"read as {label}", f"按 {label} 读取"))
    if content.has_mark:
        described.append(("read as UTF-8 with a byte order mark", "按带 BOM 的 UTF-8 读取"))
    if content.packing:
        described.append((f"unpacked from {content.packing}", f"由 {content.packing} 解压"))
    return described
