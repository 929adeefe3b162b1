"""What a file is that holds no rows: a web page, a pointer of git-lfs, an archive, a workbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swiftbox.errors import DataError
from swiftbox.language import text

HEAD_BYTES = 4096

TAR_AT, TAR = 257, b"ustar"


@dataclass(frozen=True)
class ForeignFile:
    """A kind of file that people take for data, and how its rows become a file we read."""

    en: str
    zh: str
    cure_en: str
    cure_zh: str


UNPACK = ("unpack it, and give the file or folder in it", "请解压，并给出其中的文件或目录")
EXPORT = ("save the sheet as csv (UTF-8), and give that file", "请把工作表另存为 UTF-8 的 csv")
DOWNLOAD = (
    "it is what a server sent in place of the data; use the link to the raw file, or swiftbox "
    "download ID --dataset",
    "这是服务器返回的网页而非数据；请使用原始文件的链接，或 swiftbox download ID --dataset",
)

PAGE = ForeignFile("a web page (HTML)", "网页（HTML）", *DOWNLOAD)
WORKBOOK = ForeignFile("an Excel workbook", "Excel 工作簿", *EXPORT)
LETTER = ForeignFile("a Word document", "Word 文档", "save it as txt", "请另存为 txt")
ARCHIVE = ForeignFile("an archive", "压缩包", *UNPACK)

POINTER = ForeignFile(
    "a pointer of git-lfs, not the data itself",
    "git-lfs 指针，而非数据本身",
    "run git lfs pull in its folder, or swiftbox download ID --dataset",
    "请在其目录中运行 git lfs pull，或 swiftbox download ID --dataset",
)
PARQUET = ForeignFile("parquet", " parquet 文件", "rename it to .parquet", "请改名为 .parquet")

MARKS: Mapping[bytes, ForeignFile] = {
    b"version https://git-lfs.github.com/": POINTER,
    b"PAR1": PARQUET,
    b"ARROW1": ForeignFile(
        "an Arrow file", "Arrow 文件", "write it as parquet or jsonl", "请转换为 parquet 或 jsonl"
    ),
    b"SQLite format 3\0": ForeignFile(
        "an SQLite database", "SQLite 数据库", "export its table as csv", "请把表导出为 csv"
    ),
    b"%PDF": ForeignFile(
        "a PDF document", "PDF 文档", "write its text into a txt file", "请把文字存为 txt 文件"
    ),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ForeignFile(
        "an old Office document (xls, doc)", "旧版 Office 文档（xls、doc）", *EXPORT
    ),
    b"7z\xbc\xaf\x27\x1c": ARCHIVE,
    b"Rar!\x1a\x07": ARCHIVE,
    b"BZh": ARCHIVE,
    b"\xfd7zXZ\0": ARCHIVE,
}
"""By their first bytes."""

SUFFIXES: Mapping[str, ForeignFile] = {
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz"), ARCHIVE),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), WORKBOOK),
    ".arrow": MARKS[b"ARROW1"],
    ".pdf": MARKS[b"%PDF"],
    **dict.fromkeys((".html", ".htm"), PAGE),
    **dict.fromkeys((".docx", ".doc"), LETTER),
}
"""By their names, for files whose content is not looked at."""


def kind_of_content(head: bytes, *, is_document: bool = False) -> ForeignFile | None:
    """Return what a file with these first bytes is, if it holds no rows.

    Pages are documents of a text file (`is_document`) like any other.
    """
    for mark, kind in MARKS.items():
        if head.startswith(mark):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return WORKBOOK if b"xl/" in head or b"[Content_Types]" in head else ARCHIVE
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return ARCHIVE
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html", b"<?xml"))
    return PAGE if is_page and not is_document else None


def foreign_error(path: Path, kind: ForeignFile) -> DataError:
    """Return the error for a file that holds no rows."""
    return DataError(
        text(f"dataset: {path}: is {kind.en}", f"dataset：{path}：是{kind.zh}"),
        hint=text(kind.cure_en, kind.cure_zh),
    )
