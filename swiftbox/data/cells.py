"""The cells of a row: texts, lists, turns and numbers, each checked for its type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from swiftbox.data.example import RowError, Turn, kind_of
from swiftbox.data.literals import decoded
from swiftbox.data.transcripts import transcript
from swiftbox.data.turns import read_turns

Row = Mapping[str, Any]


def first(row: Row, names: Iterable[str]) -> str:
    """Return the first name whose column is filled, else the first name that is a column."""
    present = [name for name in names if name in row]
    return next((name for name in present if row[name] is not None), present[0])


def text_in(row: Row, key: str) -> str:
    """Return a column that holds text."""
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError(
            "type",
            f"{key} should be text (got {kind_of(value)})",
            f"{key} 应为文字（当前为 {kind_of(value)}）",
        )
    if not value.strip():
        raise RowError("empty", f"{key} is empty", f"{key} 为空")
    return value


def list_in(row: Row, key: str) -> list[Any]:
    """Return a column that holds a list, or a printed list, as csv cells do."""
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = decoded(value)
        if value is None:
            raise RowError("json", f"{key} is not JSON", f"{key} 不是合法的 JSON")
    if not isinstance(value, list):
        raise RowError(
            "type",
            f"{key} should be a list (got {kind_of(value)})",
            f"{key} 应为列表（当前为 {kind_of(value)}）",
        )
    return value


def turns_in(row: Row, key: str, role: str) -> list[Turn]:
    """Return a column that holds the text of a role, one turn, or a list of turns."""
    value = row.get(key)
    if isinstance(value, str):
        if turns := transcript(value):
            return turns
        value = _decode_turns(value)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return [Turn(role, text_in(row, key))]
    if not value:
        raise RowError("empty", f"{key} is empty", f"{key} 为空")
    try:
        return read_turns(value)
    except RowError as error:
        raise in_column(key, error) from None


def _decode_turns(value: str) -> Any:
    """Decode printed turns, as in csv cells; return any other text unchanged."""
    printed = decoded(value)
    turns = printed if isinstance(printed, list) else [printed]
    are_turns = all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in turns)
    return printed if turns and are_turns else value


def in_column(key: str, error: RowError) -> RowError:
    """Return an error with the name of its column in front."""
    return RowError(error.kind, f"{key}: {error.en}", f"{key}：{error.zh}")


def number_in(row: Row, key: str) -> float | None:
    """Return a column that holds a number or the text of one; None where it is empty."""
    value = row.get(key)
    if value is None or value == "":
        return None
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        got = value[:40] if isinstance(value, str) else kind_of(value)
        raise RowError(
            "type", f"{key} should be a number (got {got})", f"{key} 应为数字（当前为 {got}）"
        )
    return number
