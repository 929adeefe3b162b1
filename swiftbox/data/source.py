"""The datasets that `dataset:` names: path or id, number of rows, columns to rename."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.data.registry import entry_named
from swiftbox.data.splits import parse_split
from swiftbox.errors import DataError
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.security.paths import fault_of_relative, shown

MAX_DIGITS = 12
"""Of a number of rows; a trillion rows are more than any dataset has."""


@dataclass(frozen=True)
class RowSource:
    """One dataset: path, part, number of rows (a seeded sample), weight, renamed columns."""

    path: str
    subset: str | None = None
    split: str | None = None
    num_samples: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    """Columns of the files, and their names in our formats."""
    renamed: tuple[str, ...] = field(default=(), compare=False)
    """Those of `columns` that the config names; a file must have each of them."""
    tags: tuple[tuple[str, str], ...] = ()
    """Keys and speakers inside conversations, from dataset_info.json."""
    weight: float | None = None
    """How many times its rows are taken per epoch: 0.5 a seeded half, 2 each row twice."""


def parse_sources(
    named: Iterable[str | Mapping[str, Any]], *, columns: Mapping[str, str]
) -> tuple[RowSource, ...]:
    """Read the values of `dataset:`; `columns` renames in all of them.

    Raises DataError if a number of rows is invalid, or is given twice and differs.
    """
    return tuple(_parse(value, columns) for value in named)


def _parse(value: str | Mapping[str, Any], columns: Mapping[str, str]) -> RowSource:
    values: Mapping[str, Any] = {"path": value} if isinstance(value, str) else value
    name = str(values.get("path") or "")
    path, count = _split_count(name)
    if not path:
        raise DataError(
            text(f"dataset: {value!r} has no path", f"dataset：{value!r} 没有路径"),
            hint=text("give a file, a folder or an id", "请给出文件、目录或 id"),
        )
    num_samples = values.get("num_samples")
    if num_samples is not None:
        if count is not None and count != num_samples:
            raise DataError(
                text(
                    f"dataset: {name}: # gives {counted(count, 'row')}, "
                    f"num_samples gives {num_samples}",
                    f"dataset：{name}：# 为 {count} 行，num_samples 为 {num_samples} 行",
                ),
                hint=text("keep one of the two", "请只保留其一"),
            )
        count = num_samples
        if count < 1:
            raise _invalid_count(name, "num_samples", str(count))
    renames = {**columns, **(values.get("columns") or {})}
    source = RowSource(
        path=path,
        subset=values.get("subset"),
        split=values.get("split"),
        num_samples=count,
        columns=_pairs(renames),
        renamed=tuple(sorted(renames)),
        weight=_weight(name, values.get("weight")),
    )
    parse_split(source.split, name)
    return _with_registry(source)


def _weight(path: str, weight: Any) -> float | None:
    if weight is None:
        return None
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(
            text(
                f"dataset: {path}: weight should be greater than 0 (got {weight:g})",
                f"dataset：{path}：weight 应大于 0（当前为 {weight:g}）",
            ),
            hint=text(
                "0.5 takes half of the rows, 2 takes each twice",
                "0.5 取一半的行，2 表示每行取两次",
            ),
        )
    return float(weight)


def _pairs(renames: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(renames.items()))


def _split_count(path: str) -> tuple[str, int | None]:
    """Split `id#500`; an existing path with that name is not split."""
    head, mark, tail = path.rpartition("#")
    if not mark or Path(path).expanduser().exists():
        return path, None
    is_count = tail.isascii() and tail.isdecimal() and len(tail) <= MAX_DIGITS
    if not is_count or int(tail) == 0:
        raise _invalid_count(path, "#", tail)
    return head, int(tail)


def _invalid_count(path: str, after: str, got: str) -> DataError:
    return DataError(
        text(
            f"dataset: {path}: {after} should be followed by a number of rows (got {got})",
            f"dataset：{path}：{after} 之后应为行数（当前为 {got}）",
        ),
        hint=text("write 1 or more, as in my.jsonl#500", "请写 1 或更大的数，如 my.jsonl#500"),
    )


def _with_registry(source: RowSource) -> RowSource:
    """Add what dataset_info.json says about a file, which is named by its path or its entry."""
    path = Path(source.path).expanduser()
    entry = None if path.is_dir() else entry_named(path.name, path.parent)
    if entry is None:
        return source
    if fault := fault_of_relative(entry.file_name, hidden=True):
        raise _outside_registry(path.parent, entry.file_name, fault)
    return replace(
        source,
        path=str(path.parent / entry.file_name),
        num_samples=source.num_samples or entry.num_samples,
        columns=_pairs({**dict(entry.columns), **dict(source.columns)}),
        tags=entry.tags,
    )


def _outside_registry(folder: Path, file_name: str, fault: str) -> DataError:
    return DataError(
        text(
            f"dataset: {folder}/dataset_info.json names {shown(file_name)}: {fault}",
            f"dataset：{folder}/dataset_info.json 中的 {shown(file_name)}：{fault}",
        ),
        hint=text("give the path of the file itself", "请直接给出该文件的路径"),
    )


def resolve(source: RowSource, local: Path) -> RowSource:
    """Return the source with its local path."""
    return replace(source, path=str(local))
