"""How a file of JSON holds its rows: one object per line, an array, or a list inside an object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from swiftbox.data.column_names import ANSWERS, PROMPT_COLUMNS, SPELLINGS, plain_spelling
from swiftbox.data.content import open_utf8
from swiftbox.data.roles import SPEAKER_KEYS

LONGEST_LINE = 64 * 2**20
"""Bytes of one line or document: hundreds of books; a longer one is a file without newlines."""

BOM = b"\xef\xbb\xbf"
BLANK = re.compile(r"[ \t\r\n]*")

WRAPPERS = frozenset(("data", "train", "instances", "rows", "examples", "samples", "items"))
"""Names of a list of rows in an object that says more than the list: LMFlow, SQuAD."""

CONVERSATIONS = frozenset(("conversation", "conversations", "messages"))
"""Names of a list that is the conversation of a single row, unless its elements hold lists."""

QUESTIONS_AND_ANSWERS = frozenset((*PROMPT_COLUMNS, *ANSWERS))
"""Columns of a row, which stand beside no list of rows."""

CONTENT_KEYS = ("content", "value", "text")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class JsonLayout:
    """Where the rows of a file are; the bounds are those of the list inside an object."""

    is_lines: bool = False
    key: str | None = None
    """The name of the list inside an object."""
    start: int | None = None
    end: int | None = None
    in_jsonl: bool = False
    """Whether an array stands in a file that is named as one of lines."""

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Return what is said about the layout, in English and Chinese."""
        notes = []
        if self.key is not None:
            notes.append((f"rows of its list {self.key}", f"读取其中的列表 {self.key}"))
        if self.in_jsonl:
            notes.append(
                ("a JSON array, not one object per line", "是 JSON 数组，而非每行一个对象")
            )
        return notes


LINES, ARRAY = JsonLayout(is_lines=True), JsonLayout()


def json_layout(path: Path) -> JsonLayout:
    """Return the layout of a file; it is looked at again only if it has changed."""
    stat = path.stat()
    return _layout(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4096)
def _layout(path: Path, _version: tuple[int, int, int]) -> JsonLayout:
    named_lines = ".jsonl" in [suffix.lower() for suffix in path.suffixes[-2:]]
    first, second = _first_lines(path)
    if not first.startswith((b"{", b"[")):
        return LINES if named_lines else ARRAY
    document = _value(first)
    if first.startswith(b"["):
        if not named_lines:
            return ARRAY
        is_broken_off = document is None and first[1:].lstrip()[:1] in (b"", b"{")
        is_array = is_broken_off or (_are_objects(document) and not second.startswith(b"["))
        return JsonLayout(in_jsonl=True) if is_array else LINES
    if second and (named_lines or document is not None):
        return LINES
    if document is None and named_lines:
        return LINES
    return _inside(path) or (ARRAY if document is None else LINES)


def _first_lines(path: Path) -> tuple[bytes, bytes]:
    """Return the first two lines that are not blank, without space around them."""
    lines: list[bytes] = []
    with open_utf8(path) as file:
        while len(lines) < 2 and (line := file.readline(LONGEST_LINE)):
            line = line.removeprefix(BOM).strip()
            if line:
                lines.append(line)
    first, second = [*lines, b"", b""][:2]
    return first, second


def _value(content: bytes) -> Any:
    """Return the JSON value of a whole text; None if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _inside(path: Path) -> JsonLayout | None:
    """Return the layout of an object with one list of rows; None for any other content."""
    with open_utf8(path) as file:
        data = file.read().removeprefix(BOM)
    document = _value(data)
    key = wrapped_key(document) if isinstance(document, dict) else None
    if key is None:
        return None
    start, end = _bounds(data.decode(errors="surrogateescape"), key)
    return JsonLayout(key=key, start=start, end=end)


def wrapped_key(document: Row) -> str | None:
    """Return the name of the only list of an object if its elements are rows; else None."""
    lists = [key for key, value in document.items() if isinstance(value, list)]
    if len(lists) != 1 or not _are_objects(document[lists[0]]):
        return None
    (key,) = lists
    elements, name = document[key], key.casefold()
    if len(document) > 1 and (name not in WRAPPERS or _is_row(document.keys() - {key})):
        return None
    if name in CONVERSATIONS:
        hold_lists = any(isinstance(value, list) for row in elements for value in row.values())
        return key if hold_lists and not any(map(_has_speaker, elements)) else None
    return None if any(map(_is_turn, elements)) else key


def _is_row(keys: Iterable[str]) -> bool:
    """Tell whether an object's keys are columns of a row, whatever their spelling."""
    plain = map(plain_spelling, keys)
    return not QUESTIONS_AND_ANSWERS.isdisjoint(SPELLINGS.get(name, name) for name in plain)


def _are_objects(value: Any) -> bool:
    are_objects = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return are_objects and bool(value)


def _is_turn(element: Row) -> bool:
    return _has_speaker(element) and any(key in element for key in CONTENT_KEYS)


def _has_speaker(element: Row) -> bool:
    return any(key in element for key in SPEAKER_KEYS)


def _bounds(content: str, key: str) -> tuple[int, int]:
    """Return where the value of a key of the outermost object begins and ends."""
    decoder = json.JSONDecoder()
    bounds = (0, 0)
    position = past_blank(content, 0) + 1
    while not content.startswith("}", position := past_blank(content, position)):
        name, position = decoder.raw_decode(content, position)
        start = past_blank(content, past_blank(content, position) + 1)  # after the colon
        _, end = decoder.raw_decode(content, start)
        if name == key:
            bounds = (start, end)
        position = past_blank(content, end)
        position += content.startswith(",", position)
    return bounds


def past_blank(content: str, position: int) -> int:
    """Return the position of the next character that is not blank."""
    match = BLANK.match(content, position)
    return match.end() if match else position
