"""Rows of a file with the line of each; a broken row is a RowError."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.data.compression import PACKED_SUFFIXES
from swiftbox.data.content import content_notes, open_utf8
from swiftbox.data.example import RowError, without_nulls
from swiftbox.data.foreign_files import HEAD_BYTES, PARQUET, foreign_error, kind_of_content
from swiftbox.data.json_files import NumberedRow, lines_of, not_utf8, read_json, too_long
from swiftbox.data.json_layouts import LONGEST_LINE, json_layout
from swiftbox.data.separators import SEPARATOR_NOTES, open_cells, separator_of
from swiftbox.errors import DataError
from swiftbox.language import text

PARQUET_BATCH = 1024
"""Rows decoded at once: enough for speed, few enough if rows are long documents."""


def read_csv(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a csv with a header, each with the line it begins on.

    Cells are separated by commas, semicolons or tabs, whichever the header and the rows agree on.
    """
    # The csv module has one limit per process; its default of 128 KiB is less than a document.
    csv.field_size_limit(LONGEST_LINE)
    separator = separator_of(path)
    if separator is None:
        yield 1, _ambiguous()
        return
    with open_cells(path) as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        header: list[str] = []
        begins = 1
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield (
                    begins,
                    RowError("csv", f"is not csv: {error}", f"不是合法的 csv：{error}"),
                )
                if not header:
                    return
                cells = []
            if cells and not header:
                header = [cell.strip() for cell in cells]
                if problem := _header_problem(header):
                    yield begins, problem
                    return
            elif cells:
                yield begins, _cells(header, cells)
            begins = rows.line_num + 1


def _ambiguous() -> RowError:
    return RowError(
        "csv",
        "its columns may be separated by commas, semicolons or tabs: put quotes around the cells "
        "of the header",
        "无法判断列之间是逗号、分号还是制表符：请给表头的单元格加上引号",
    )


def _header_problem(header: list[str]) -> RowError | None:
    if not _is_utf8(header):
        return not_utf8()
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        names = ", ".join(repeated)
        return RowError("csv", f"the header names {names} twice", f"表头中 {names} 重复")
    return None


def _cells(header: list[str], cells: list[str]) -> Mapping[str, Any] | RowError:
    if len(cells) != len(header):
        return RowError(
            "csv",
            f"should have {len(header)} cells like the header (got {len(cells)})",
            f"应与表头一样有 {len(header)} 个单元格（当前为 {len(cells)}）",
        )
    if not _is_utf8(cells):
        return not_utf8()
    return dict(zip(header, cells, strict=True))


def _is_utf8(cells: list[str]) -> bool:
    """Return whether cells read with surrogateescape were UTF-8."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_parquet(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a parquet file, counted from 1.

    Raises DataError if the file is not parquet. Nulls inside a column are left out: parquet gives
    all objects of a column the same keys.
    """
    import pyarrow

    number = 0
    with open_parquet(path) as file:
        try:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for row in _rows(batch):
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            yield (
                number + 1,
                RowError("parquet", f"cannot be read: {error}", f"无法读取：{error}"),
            )


def open_parquet(path: Path) -> Any:
    """Open a parquet file; raise DataError if it is none."""
    import pyarrow
    import pyarrow.parquet

    with path.open("rb") as start:
        kind = kind_of_content(start.read(HEAD_BYTES))
    if kind and kind is not PARQUET:
        raise foreign_error(path, kind)
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            text(f"{path.name}: is not parquet ({error})", f"{path.name}：不是 parquet（{error}）"),
            hint=text("download or create the file again", "请重新下载或生成该文件"),
        ) from None


def _rows(batch: Any) -> Iterator[Mapping[str, Any] | RowError]:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield not_utf8()
            return
        for index in range(batch.num_rows):
            yield from _rows(batch.slice(index, 1))
        return
    for row in rows:
        yield {key: without_nulls(value) for key, value in row.items()}


def read_txt(path: Path) -> Iterator[NumberedRow]:
    """Yield the documents of a text file, separated by blank lines, each with its first line.

    Windows line ends become newlines. One line that is not UTF-8 makes its document bad.
    """
    parts: list[str] = []
    first_line = size = 0
    error: NumberedRow | None = None
    with open_utf8(path) as file:
        for number, raw in lines_of(file):
            if not isinstance(raw, RowError) and not raw.strip():
                yield from _document(first_line, parts, error)
                parts, size, error = [], 0, None
                continue
            first_line = first_line if parts else number
            line = _line(raw)
            size += len(line) if isinstance(line, str) else 0
            if isinstance(line, RowError):
                error = error or (number, line)
            elif size > LONGEST_LINE:
                error = error or (first_line, too_long())
                parts = [""]
            else:
                parts.append(line)
    yield from _document(first_line, parts, error)


def _line(raw: bytes | RowError) -> str | RowError:
    if isinstance(raw, RowError):
        return raw
    try:
        return raw.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        return not_utf8(error.start + 1)


def _document(
    first_line: int, parts: list[str], error: NumberedRow | None
) -> Iterator[NumberedRow]:
    if error is not None:
        yield error
    elif parts:
        yield first_line, {"text": "\n".join(parts)}


READERS: Mapping[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_txt,
}

DATA_SUFFIXES = (*READERS, *PACKED_SUFFIXES)
"""What the names of data files end in; `rows.jsonl.gz` is packed jsonl."""


def row_type(path: Path) -> str | None:
    """Return the suffix that tells how rows are written, .jsonl for rows.jsonl.gz; None: none."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    is_packed = len(suffixes) == 2 and suffixes[-1] in PACKED_SUFFIXES
    suffix = suffixes[0] if is_packed else suffixes[-1] if suffixes else ""
    if suffix not in READERS or (is_packed and suffix == ".parquet"):
        return None
    return suffix


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """Yield the rows of a file by its `row_type`, which it must have."""
    return READERS[str(row_type(path))](path)


def count_rows(path: Path) -> int:
    """Return the number of rows of a file, bad ones counted too."""
    suffix = row_type(path)
    if suffix == ".jsonl" and json_layout(path).is_lines:
        with open_utf8(path) as file:
            lines = lines_of(file)
            return sum(isinstance(line, RowError) or not line.isspace() for _, line in lines)
    if suffix == ".parquet":
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    return sum(1 for _ in read_rows(path))


def reading_of(path: Path) -> list[tuple[str, str]]:
    """Return what is to be said about how a file is read, in English and Chinese."""
    suffix = row_type(path)
    if suffix == ".parquet":
        return []
    described = content_notes(path)
    if suffix in (".json", ".jsonl"):
        described += json_layout(path).notes
    if suffix == ".csv" and (note := SEPARATOR_NOTES.get(separator_of(path) or "")):
        described.append(note)
    return described
