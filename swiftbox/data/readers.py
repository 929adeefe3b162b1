"""Rows of a file with the line each stands on; what is not a row comes out as a RowError."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.errors import DataError
from swiftbox.language import text

Read = tuple[int, "Mapping[str, Any] | RowError"]
"""A line (or row) number, and the row or why there is none."""

LONGEST_CELL = 64 * 2**20
"""Bytes of one csv cell; the csv module's own limit of 128 KiB is less than one long document."""


def read_jsonl(path: Path) -> Iterator[Read]:
    """Yield the object of each line; blank lines are passed over."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not line.strip():
                continue
            yield number, _object(line.strip())


def _object(line: bytes) -> Mapping[str, Any] | RowError:
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return RowError(
            "encoding",
            text(f"is not UTF-8 (byte {error.start})", f"不是 UTF-8（第 {error.start} 字节）"),
        )
    except json.JSONDecodeError as error:
        return RowError(
            "json",
            text(
                f"is not JSON: {error.msg} at column {error.colno}",
                f"不是合法的 JSON：第 {error.colno} 列 {error.msg}",
            ),
        )
    except ValueError as error:
        return RowError("json", text(f"is not JSON: {error}", f"不是合法的 JSON：{error}"))
    except RecursionError:
        return RowError("json", text("is nested too deeply", "嵌套过深"))
    if not isinstance(found, dict):
        kind = type(found).__name__
        return RowError(
            "object", text(f"is not an object (got {kind})", f"不是对象（当前为 {kind}）")
        )
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def read_json(path: Path) -> Iterator[Read]:
    """Yield the objects of a JSON array, each with the line it begins on."""
    content = _decoded(path)
    if not content.lstrip().startswith("["):
        yield (
            1,
            RowError("json", text("should be a JSON array of objects", "应为对象组成的 JSON 数组")),
        )
        return
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at = content.index("[") + 1
    line, counted = 1, 0
    while True:
        at = _skip(content, at, " \t\r\n,")
        if at >= len(content) or content[at] == "]":
            return
        line += content.count("\n", counted, at)
        counted = at
        try:
            found, at = decoder.raw_decode(content, at)
        except ValueError as error:
            message = getattr(error, "msg", str(error))
            yield (
                line,
                RowError("json", text(f"is not JSON: {message}", f"不是合法的 JSON：{message}")),
            )
            return
        if isinstance(found, dict):
            yield line, found
        else:
            kind = type(found).__name__
            yield (
                line,
                RowError(
                    "object", text(f"is not an object (got {kind})", f"不是对象（当前为 {kind}）")
                ),
            )


def _skip(content: str, at: int, letters: str) -> int:
    while at < len(content) and content[at] in letters:
        at += 1
    return at


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            text(
                f"{path.name}: is not UTF-8 (byte {error.start})",
                f"{path.name}：不是 UTF-8（第 {error.start} 字节）",
            ),
            hint=text("convert the file to UTF-8", "请将文件转换为 UTF-8"),
        ) from None


def read_csv(path: Path) -> Iterator[Read]:
    """Yield the rows of a csv with a header, each with the line it begins on."""
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        rows = csv.reader(file, strict=True)
        header = next(rows, [])
        begins = rows.line_num + 1
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield (
                    begins,
                    RowError("csv", text(f"is not csv: {error}", f"不是合法的 csv：{error}")),
                )
                return
            if cells:
                yield begins, _cells(header, cells)
            begins = rows.line_num + 1


def _cells(header: list[str], cells: list[str]) -> Mapping[str, Any] | RowError:
    if len(cells) != len(header):
        return RowError(
            "csv",
            text(
                f"has {len(cells)} cells, the header has {len(header)}",
                f"有 {len(cells)} 个单元格，而表头有 {len(header)} 个",
            ),
        )
    if any(
        "\udc80" <= letter <= "\udcff" for cell in cells for letter in cell if letter > "\ud7ff"
    ):
        return RowError("encoding", text("is not UTF-8", "不是 UTF-8"))
    found: dict[str, Any] = dict(zip(header, cells, strict=True))
    for key in ("messages", "conversations", "history"):
        if isinstance(found.get(key), str) and found[key].lstrip().startswith("["):
            try:
                found[key] = json.loads(found[key])
            except ValueError:
                return RowError("json", text(f"{key} is not JSON", f"{key} 不是合法的 JSON"))
    return found


def read_parquet(path: Path) -> Iterator[Read]:
    """Yield the rows of a parquet file, counted from 1."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            text(f"{path.name}: is not parquet ({error})", f"{path.name}：不是 parquet（{error}）")
        ) from None
    number = 0
    with file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


def read_txt(path: Path) -> Iterator[Read]:
    """Yield the documents of a text file, which blank lines separate, each with its first line."""
    document: list[str] = []
    began = 1
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                yield (
                    number,
                    RowError(
                        "encoding",
                        text(
                            f"is not UTF-8 (byte {error.start})",
                            f"不是 UTF-8（第 {error.start} 字节）",
                        ),
                    ),
                )
                continue
            if line.strip():
                if not document:
                    began = number
                document.append(line)
            elif document:
                yield began, {"text": "".join(document).rstrip("\r\n")}
                document = []
    if document:
        yield began, {"text": "".join(document).rstrip("\r\n")}


READERS: Mapping[str, Callable[[Path], Iterator[Read]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_txt,
}


def files_of(path: Path) -> list[Path]:
    """Return the data files of a path: itself, or all of a folder in their order."""
    if path.is_file():
        if path.suffix.lower() in READERS:
            return [path]
        known = ", ".join(READERS)
        raise DataError(
            text(f"dataset: {path} is none of {known}", f"dataset：{path} 不是 {known} 之一"),
            hint=text("convert it to jsonl", "请转换为 jsonl"),
        )
    skipped = {"dataset_info.json", "dataset_infos.json", "configuration.json", "config.json"}
    found = [
        one
        for one in sorted(path.rglob("*"))
        if one.suffix.lower() in READERS
        and one.is_file()
        and one.name not in skipped
        and not any(part.startswith(".") for part in one.relative_to(path).parts)
    ]
    if not found:
        raise DataError(
            text(f"dataset: no data files in {path}", f"dataset：{path} 中没有数据文件"),
            hint=text(f"it should hold {', '.join(READERS)}", f"应包含 {', '.join(READERS)}"),
        )
    return found
