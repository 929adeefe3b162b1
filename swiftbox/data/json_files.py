"""Rows of jsonl and json files with the line each begins on; a broken row is a RowError."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from swiftbox.data.content import open_utf8
from swiftbox.data.example import RowError, kind_of
from swiftbox.data.json_layouts import BOM, LONGEST_LINE, json_layout, past_blank
from swiftbox.formatting import size

NumberedRow = tuple[int, "Mapping[str, Any] | RowError"]
"""A line (or row) number, and the row or the error in its place."""


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
    """Return the error of a line or document that is too long."""
    limit = size(LONGEST_LINE)
    return RowError("long", f"is longer than {limit}", f"超过 {limit}")


def not_utf8(byte: int | None = None) -> RowError:
    """Return the error of bytes that are not UTF-8; `byte` is the first of them, from 1."""
    if byte is None:
        return RowError("encoding", "is not UTF-8", "不是 UTF-8")
    return RowError("encoding", f"is not UTF-8 (byte {byte})", f"不是 UTF-8（第 {byte} 个字节）")


def read_json(path: Path) -> Iterator[NumberedRow]:
    """Yield the objects of a file of JSON, each with the line it begins on.

    They are one per line, the elements of an array, or those of the only list in an object. After
    a broken element, reading resumes at the next line that begins an object with the same
    indentation.
    """
    layout = json_layout(path)
    if layout.is_lines:
        yield from _read_lines(path)
        return
    with open_utf8(path) as file:
        content = file.read().removeprefix(BOM).decode(errors="surrogateescape")
    start, end = layout.start, layout.end
    if start is None:
        start = past_blank(content, 0)
        if start == len(content):
            return
        if content[start] != "[":
            yield content.count("\n", 0, start) + 1, _no_array(content)
            return
    yield from _elements(content[:end], past_blank(content, start + 1))


def _no_array(content: str) -> RowError:
    try:
        _DECODER.decode(content)
    except (ValueError, RecursionError) as error:
        return _cut_off() if _unfinished(error, content) else _not_json(error, with_line=True)
    return RowError(
        "json",
        "should be a JSON array of objects, or an object with one list of them",
        "应为对象组成的 JSON 数组，或只含一个此类列表的对象",
    )


def _read_lines(path: Path) -> Iterator[NumberedRow]:
    """Yield the object of each line; blank lines are skipped."""
    with open_utf8(path) as file:
        for number, line in lines_of(file):
            if isinstance(line, RowError):
                yield number, line
            elif not line.isspace():
                yield number, _object(line)


def _object(line: bytes) -> Mapping[str, Any] | RowError:
    try:
        content = line.decode().rstrip(" \t\r\n")
        value, end = _DECODER.raw_decode(content, past_blank(content, 0))
        if end != len(content):
            raise json.JSONDecodeError("Extra data", content, end)
    except UnicodeDecodeError as error:
        return not_utf8(error.start + 1)
    except json.JSONDecodeError as error:
        if _unfinished(error, content) and not line.endswith(b"\n"):
            return _cut_off()
        return _not_json(error)
    except (ValueError, RecursionError) as error:
        return _not_json(error)
    return _checked(value, content)


def _checked(value: Any, content: str) -> Mapping[str, Any] | RowError:
    """Return the value if it is an object whose texts can be encoded, else its error."""
    if not isinstance(value, dict):
        kind = kind_of(value)
        return RowError("object", f"should be an object (got {kind})", f"应为对象（当前为 {kind}）")
    # Most rows escape nothing: one scan shows it.
    escaped = "\\u" in content and ("\\ud" in content or "\\uD" in content)
    if escaped and _has_lone_surrogate(value):
        return RowError(
            "encoding",
            "has a lone surrogate (\\ud800 to \\udfff)",
            "含有不成对的代理字符（\\ud800 至 \\udfff）",
        )
    return value


def _has_lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _not_json(error: Exception, *, with_line: bool = False) -> RowError:
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
    """Return whether the JSON is only incomplete."""
    return isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(content.rstrip(" \t\r\n")) or error.msg.startswith("Unterminated")
    )


def _cut_off() -> RowError:
    return RowError("cut-off", "is cut off: the file ends in the middle", "不完整：文件在中间结束")


def _elements(content: str, position: int) -> Iterator[NumberedRow]:
    """Yield the elements of an array; its first one (or closing bracket) is at the position."""
    line, counted = 1, 0
    after_comma = False
    while True:
        line += content.count("\n", counted, position)
        counted = position
        if content.startswith("]", position) and not after_comma:
            position = past_blank(content, position + 1)
            if position < len(content):
                line += content.count("\n", counted, position)
                yield line, RowError("json", "follows the end of the array", "位于数组之后")
            return
        if position >= len(content):
            yield line, _cut_off()
            return
        row, after, after_comma = _element(content, position)
        yield line, row
        if after is None:
            return
        position = after


def _element(content: str, position: int) -> tuple[Mapping[str, Any] | RowError, int | None, bool]:
    """Return an element, the position of the next (None: no next) and whether a comma came."""
    try:
        value, end = _DECODER.raw_decode(content, position)
    except (ValueError, RecursionError) as error:
        after = _next_object(content, position)
        if after is None and _unfinished(error, content):
            return _cut_off(), None, False
        return _with_rest(_not_json(error, with_line=True), after), after, False
    row = _checked(value, content[position:end])
    if not _is_utf8(content[position:end]):
        row = not_utf8()
    after = past_blank(content, end)
    if content.startswith(",", after):
        return row, past_blank(content, after + 1), True
    if after >= len(content) or content[after] == "]":
        return row, after, False
    no_comma = RowError("json", "is not followed by a comma", "之后缺少逗号")
    next_object = _next_object(content, position)
    return _with_rest(no_comma, next_object), next_object, False


def _with_rest(error: RowError, after: int | None) -> RowError:
    """Add to an error that nothing after it is read, if so."""
    if after is not None:
        return error
    return RowError(error.kind, f"{error.en}; the rest is not read", f"{error.zh}；其后内容未读取")


def _is_utf8(content: str) -> bool:
    """Return whether text decoded with surrogateescape was UTF-8."""
    if content.isascii():
        return True
    try:
        content.encode()
    except UnicodeEncodeError:
        return False
    return True


def _next_object(content: str, position: int) -> int | None:
    """Return where the next line begins an object with the indentation of this position."""
    begin = content.rfind("\n", 0, position) + 1
    indent = content[begin:position]
    if indent.strip(" \t"):
        return None
    match = re.compile(r"\n" + re.escape(indent) + r"(?=\{)").search(content, position)
    return match.end() if match else None
