"""Files packed with gzip or zstd, read as a stream of what is in them.

What a file is packed with follows from its first bytes, not from its name. A file that unpacks to
far more than data of its size could is refused before it fills the disk or takes a day.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from swiftbox.errors import DataError
from swiftbox.formatting import size
from swiftbox.language import text

PACKED_SUFFIXES = (".gz", ".zst")

MARKS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of packed files."""

BLOCK_BYTES = 2**18

MAX_RATIO = 300
"""Rows of text pack to a fifth, copies of one row to a hundredth."""

ALWAYS_ALLOWED_BYTES = 2**28
"""Unpacked bytes that no computer minds, whatever the ratio."""


def packing_of(head: bytes) -> str | None:
    """Return what a file that begins with these bytes is packed with; None if it is not."""
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), None)


def unpacked(path: Path, packing: str) -> BinaryIO:
    """Open what is in a packed file; reading raises DataError if it is broken or has no bounds."""
    return cast("BinaryIO", io.BufferedReader(_Unpacked(path, packing), BLOCK_BYTES))


class _Unpacked(io.RawIOBase):
    """The bytes in a packed file, with its errors as DataErrors."""

    def __init__(self, path: Path, packing: str) -> None:
        self.path = path
        self.packing = packing
        self.stream = _stream(path, packing)
        self.limit = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * path.stat().st_size)
        self.total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        try:
            block = self.stream.read(len(view))
        except (OSError, EOFError, zlib.error) as error:
            raise _broken(self.path, self.packing, error) from None
        view[: len(block)] = block
        self.total += len(block)
        if self.total > self.limit:
            raise _without_bounds(self.path, self.limit)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
        super().close()


def _stream(path: Path, packing: str) -> BinaryIO:
    if packing == "gzip":
        import gzip

        return cast("BinaryIO", gzip.open(path, "rb"))
    import pyarrow  # a tenth of a second, for packed files only

    return cast("BinaryIO", pyarrow.input_stream(str(path), compression="zstd"))


def _broken(path: Path, packing: str, error: Exception) -> DataError:
    return DataError(
        text(
            f"dataset: {path}: cannot be unpacked as {packing} ({error})",
            f"dataset：{path}：无法按 {packing} 解压（{error}）",
        ),
        hint=text("download or create the file again", "请重新下载或生成该文件"),
    )


def _without_bounds(path: Path, limit: int) -> DataError:
    return DataError(
        text(
            f"dataset: {path}: unpacks to more than {size(limit)}, {MAX_RATIO} times its size",
            f"dataset：{path}：解压后超过 {size(limit)}，即其大小的 {MAX_RATIO} 倍",
        ),
        hint=text(
            "if you trust the file, unpack it yourself and give the unpacked file",
            "若信任该文件，请自行解压后给出解压后的文件",
        ),
    )
