"""Rows of jsonl and json files with the line each begins on; what is no row comes as a RowError."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.data.example import RowError, kind_of

Read = tuple[int, "Mapping[str, Any] | RowError"]
"""A line (or row) number, and the row or why there is none."""

LONGEST_LINE = 64 * 2**20
"""Bytes of one line or document: hundreds of books; a longer one is a file without line ends."""

BOM = b"\xef\xbb\xbf"
BLANK = re.compile(r"[ \t\r\n]*")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | RowError]]:
    """Yield the lines of a file opened as bytes, counted from 1, without a byte order mark."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, too_long()
            continue
        yield number, line


def too_long() -> RowError:
    """Return the error of a line or document that is too long to be one."""
    size = f"{LONGEST_LINE / 2**20:g} MiB"
    return RowError("long", f"is longer than {size}", f"超过 {size}")


def not_utf8(at: int | None = None) -> RowError:
    """Return the error of bytes that are no UTF-8, the first of them at a place counted from 1."""
    if at is None:
        return RowError("encoding", "is not UTF-8", "不是 UTF-8")
    return RowError("encoding", f"is not UTF-8 (byte {at})", f"不是 UTF-8（第 {at} 字节）")


def read_jsonl(path: Path) -> Iterator[Read]:
    """Yield the object of each line; blank lines are passed over."""
    with path.open("rb") as file:
        for number, line in lines_of(file):
            if isinstance(line, RowError):
                yield number, line
            elif not line.isspace():
                yield number, _object(line)


def _object(line: bytes) -> Mapping[str, Any] | RowError:
    try:
        content = line.decode().rstrip(" \t\r\n")
        found, end = _DECODER.raw_decode(content, _past_blank(content, 0))
        if end != len(content):
            raise json.JSONDecodeError("Extra data", content, end)
    except UnicodeDecodeError as error:
        return not_utf8(error.start + 1)
    except json.JSONDecodeError as error:
        if _unfinished(error, content) and not line.endswith(b"\n"):
            return _cut_off()
        return _no_json(error)
    except (ValueError, RecursionError) as error:
        return _no_json(error)
    return _checked(found, content)


def _checked(found: Any, content: str) -> Mapping[str, Any] | RowError:
    """Return a row that is an object of texts that can be encoded."""
    if not isinstance(found, dict):
        kind = kind_of(found)
        return RowError("object", f"should be an object (got {kind})", f"应为对象（当前为 {kind}）")
    # Most rows escape nothing: one scan tells.
    escaped = "\\u" in content and ("\\ud" in content or "\\uD" in content)
    if escaped and _has_half_letter(found):
        return RowError(
            "encoding",
            "has half of a surrogate pair (\\ud800 to \\udfff)",
            "含有不成对的代理字符（\\ud800 至 \\udfff）",
        )
    return found


def _has_half_letter(found: Any) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _no_json(error: Exception, *, with_line: bool = False) -> RowError:
    if isinstance(error, RecursionError):
        return RowError("json", "is nested too deeply", "嵌套过深")
    if isinstance(error, json.JSONDecodeError):
        line, row = (f"line {error.lineno} ", f"第 {error.lineno} 行") if with_line else ("", "")
        return RowError(
            "json",
            f"is not JSON: {error.msg} at {line}column {error.colno}",
            f"不是合法的 JSON：{row}第 {error.colno} 列 {error.msg}",
        )
    return RowError("json", f"is not JSON: {error}", f"不是合法的 JSON：{error}")


def _unfinished(error: Exception, content: str) -> bool:
    """Tell whether JSON is wrong only in that it ends too early."""
    return isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(content.rstrip(" \t\r\n")) or error.msg.startswith("Unterminated")
    )


def _cut_off() -> RowError:
    return RowError("cut-off", "is cut off: the file ends in the middle", "不完整：文件在中间结束")


def read_json(path: Path) -> Iterator[Read]:
    """Yield the objects of a JSON array, each with the line it begins on.

    A file of one object per line is read as jsonl. After a broken element reading goes on at the
    next line that begins an object as far in as the broken one.
    """
    with path.open("rb") as file:
        _, first = next(lines_of(file), (1, b""))
    if isinstance(first, bytes) and isinstance(_object(first), dict):
        yield from read_jsonl(path)
        return
    content = path.read_bytes().removeprefix(BOM).decode(errors="surrogateescape")
    at = _past_blank(content, 0)
    if at == len(content):
        return
    if content[at] != "[":
        yield (
            content.count("\n", 0, at) + 1,
            RowError("json", "should be a JSON array of objects", "应为对象组成的 JSON 数组"),
        )
        return
    yield from _elements(content, _past_blank(content, at + 1))


def _elements(content: str, at: int) -> Iterator[Read]:
    """Yield the elements of an array whose first one (or closing bracket) is at a place."""
    line, counted = 1, 0
    awaited = False
    while True:
        line += content.count("\n", counted, at)
        counted = at
        if content.startswith("]", at) and not awaited:
            at = _past_blank(content, at + 1)
            if at < len(content):
                line += content.count("\n", counted, at)
                yield line, RowError("json", "stands after the array", "位于数组之后")
            return
        if at >= len(content):
            yield line, _cut_off()
            return
        row, after, awaited = _element(content, at)
        yield line, row
        if after is None:
            return
        at = after


def _element(content: str, at: int) -> tuple[Mapping[str, Any] | RowError, int | None, bool]:
    """Return an element, the place of the next (None: there is none) and whether one must come."""
    try:
        found, end = _DECODER.raw_decode(content, at)
    except (ValueError, RecursionError) as error:
        after = _next_object(content, at)
        if after is None and _unfinished(error, content):
            return _cut_off(), None, False
        return _with_rest(_no_json(error, with_line=True), after), after, False
    row = _checked(found, content[at:end])
    if not _is_utf8(content[at:end]):
        row = not_utf8()
    after = _past_blank(content, end)
    if content.startswith(",", after):
        return row, _past_blank(content, after + 1), True
    if after >= len(content) or content[after] == "]":
        return row, after, False
    missing = RowError("json", "is not followed by a comma", "之后缺少逗号")
    after_line = _next_object(content, at)
    return _with_rest(missing, after_line), after_line, False


def _with_rest(error: RowError, after: int | None) -> RowError:
    if after is not None:
        return error
    return RowError(error.kind, f"{error.en}; the rest is not read", f"{error.zh}；其后内容未读取")


def _past_blank(content: str, at: int) -> int:
    found = BLANK.match(content, at)
    return found.end() if found else at


def _is_utf8(content: str) -> bool:
    """Tell whether text decoded with surrogateescape was UTF-8."""
    if content.isascii():
        return True
    try:
        content.encode()
    except UnicodeEncodeError:
        return False
    return True


def _next_object(content: str, at: int) -> int | None:
    """Return where the next line begins an object as far in as the line of a place."""
    begin = content.rfind("\n", 0, at) + 1
    indent = content[begin:at]
    if indent.strip(" \t"):
        return None
    found = re.compile(r"\n" + re.escape(indent) + r"(?=\{)").search(content, at)
    return found.end() if found else None
