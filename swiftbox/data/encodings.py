"""The encoding of a file of rows: UTF-8, UTF-16 or GB18030, never a guess from its first lines.

UTF-8 is what files are expected to be. A byte order mark names UTF-16; without a mark it shows by
the zero bytes of its ASCII letters. GB18030 is taken only if no line with other letters is UTF-8,
every line is GB18030, and its letters are those that Chinese text consists of: nearly all bytes of
other encodings are GB18030 for something. In every other case the file is read as UTF-8, so that
its lines are reported.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from swiftbox.errors import DataError
from swiftbox.language import text

UTF8, GB18030, UTF16_LE, UTF16_BE = "utf-8", "gb18030", "utf-16-le", "utf-16-be"

LABELS = {GB18030: "GB18030", UTF16_LE: "UTF-16", UTF16_BE: "UTF-16"}
"""What people call the encodings that are said; UTF-8 goes without saying."""

BLOCK_BYTES = 2**14

CERTAIN_BYTES = 32
"""Bytes beyond one per letter after which text that is UTF-8 is not another encoding by chance."""

LONGEST_LINE = 2**24
"""Bytes of a line that is looked at; a longer one leaves the file UTF-8."""

MIN_ZERO_SHARE = 0.2
"""Of the units of UTF-16 without a mark that are ASCII letters, at least."""

MAX_OTHER_ZEROS = 0.05
"""Zero bytes on the other side of the units, per one on theirs: those of a few Chinese letters."""

COMMON = frozenset(
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去"
    "能对小多然于心学么之都好看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手"
    "又行意动方期它头经长儿回位分爱老因很给名法间斯知世什两次使身者被高已亲其进此话常与活正感问答请"
    "题写内容句文字本机数据理解關這個們來說國時會為對後發問請題寫內數據間"
)
"""The commonest letters of Chinese text; they make up about two fifths of it."""

MIN_COMMON_SHARE = 0.1
MIN_LETTERS = 3
ENOUGH_LETTERS = 200_000
"""Letters after which their kind is known."""


def encoding_of(opened: Callable[[], BinaryIO], name: str) -> str:
    """Return the encoding of a file that `opened` opens as bytes; it is read as far as needed.

    Raises DataError if it begins as UTF-16 and does not continue so.
    """
    with opened() as file:
        head = file.read(BLOCK_BYTES)
        encoding = _utf16(head)
        if not encoding and _is_utf8(file, head):
            return UTF8
    with opened() as file:
        if encoding:
            _require_strict(file, encoding, name)
            return encoding
        return GB18030 if _is_gb18030(file) else UTF8


def _utf16(head: bytes) -> str | None:
    if head.startswith(codecs.BOM_UTF16_LE):
        return UTF16_LE
    if head.startswith(codecs.BOM_UTF16_BE):
        return UTF16_BE
    first, second = head[0::2].count(0), head[1::2].count(0)
    few, many = sorted((first, second))
    if many < max(MIN_ZERO_SHARE * len(head) / 2, few / MAX_OTHER_ZEROS):
        return None
    return (UTF16_LE if second > first else UTF16_BE) if many else None


def _require_strict(file: BinaryIO, encoding: str, name: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        while block := file.read(BLOCK_BYTES):
            if "\0" in decoder.decode(block):
                raise _not_utf16(name)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _not_utf16(name) from None


def _not_utf16(name: str) -> DataError:
    return DataError(
        text(
            f"dataset: {name}: begins as UTF-16, but is not UTF-16 to its end",
            f"dataset：{name}：开头是 UTF-16，但并非全文都是 UTF-16",
        ),
        hint=text("save the file as UTF-8", "请把文件另存为 UTF-8"),
    )


def _is_utf8(file: BinaryIO, block: bytes) -> bool:
    decoder = codecs.getincrementaldecoder(UTF8)("strict")
    beyond = 0
    try:
        while block:
            if not block.isascii() or decoder.getstate()[0]:
                beyond += len(block) - len(decoder.decode(block))
                if beyond >= CERTAIN_BYTES:
                    return True
            block = file.read(BLOCK_BYTES)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_gb18030(file: BinaryIO) -> bool:
    letters = common = 0
    while line := file.readline(LONGEST_LINE):
        if line.isascii():
            continue
        if len(line) == LONGEST_LINE or _decodes(line, UTF8):
            return False
        try:
            decoded = line.decode(GB18030)
        except UnicodeDecodeError:
            return False
        if letters < ENOUGH_LETTERS:
            chinese = [letter for letter in decoded if letter >= "\u3100" and letter < "\uff00"]
            letters += len(chinese)
            common += sum(letter in COMMON for letter in chinese)
    return letters >= MIN_LETTERS and common >= MIN_COMMON_SHARE * letters


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(file: BinaryIO, encoding: str) -> BinaryIO:
    """Return the UTF-8 bytes of a file in another encoding, as a stream."""
    return cast("BinaryIO", io.BufferedReader(_Recoded(file, encoding), BLOCK_BYTES))


class _Recoded(io.RawIOBase):
    """The bytes of a file in UTF-8; `encoding_of` has shown that it can be decoded."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.file = file
        self.decoder = codecs.getincrementaldecoder(encoding)("strict")
        self.pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self.pending:
            block = self.file.read(BLOCK_BYTES)
            self.pending = memoryview(self.decoder.decode(block, final=not block).encode())
            if not block:
                break
        view = memoryview(buffer)
        count = min(len(view), len(self.pending))
        view[:count] = self.pending[:count]
        self.pending = self.pending[count:]
        return count

    def close(self) -> None:
        self.file.close()
        super().close()
