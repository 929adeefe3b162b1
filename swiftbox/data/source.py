"""What `dataset:` names: a path or an id, how many rows of it, which columns are renamed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftbox.data.registry import entry_named
from swiftbox.errors import DataError
from swiftbox.language import text


@dataclass(frozen=True)
class RowSource:
    """One dataset: where, which part, how many rows (a seeded sample), how often, renames."""

    path: str
    subset: str | None = None
    split: str | None = None
    num_samples: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    """A column of the files, and what it is called in our formats."""
    tags: tuple[tuple[str, str], ...] = ()
    """What dataset_info.json says of the keys and speakers inside conversations."""
    weight: float | None = None
    """How many times its rows are taken per epoch: 0.5 a seeded half, 2 each row twice."""


def parse_sources(
    named: Iterable[str | Mapping[str, Any]], *, columns: Mapping[str, str]
) -> tuple[RowSource, ...]:
    """Read the values of `dataset:`; `columns` renames in all of them.

    Raises DataError when a number of rows is none, or is given twice and differs.
    """
    return tuple(_parse(one, columns) for one in named)


def _parse(one: str | Mapping[str, Any], columns: Mapping[str, str]) -> RowSource:
    values: Mapping[str, Any] = {"path": one} if isinstance(one, str) else one
    whole = str(values.get("path") or "")
    path, count = _counted(whole)
    if not path:
        raise DataError(
            text(f"dataset: {one!r} names no path", f"dataset：{one!r} 没有路径"),
            hint=text("give a file, a folder or an id", "请给出文件、目录或 id"),
        )
    asked = values.get("num_samples")
    if asked is not None:
        if count is not None and count != asked:
            raise DataError(
                text(
                    f"dataset: {whole}: # says {count} rows, num_samples says {asked}",
                    f"dataset：{whole}：# 为 {count} 行，num_samples 为 {asked} 行",
                ),
                hint=text("keep one of the two", "请只保留其一"),
            )
        count = asked
        if count < 1:
            raise _no_count(whole, "num_samples", str(count))
    found = RowSource(
        path=path,
        subset=values.get("subset"),
        split=values.get("split"),
        num_samples=count,
        columns=_pairs({**columns, **(values.get("columns") or {})}),
        weight=_weight(whole, values.get("weight")),
    )
    return _registered(found)


def _weight(path: str, asked: Any) -> float | None:
    if asked is None:
        return None
    if not (math.isfinite(asked) and asked > 0):
        raise DataError(
            text(
                f"dataset: {path}: weight should be greater than 0 (got {asked:g})",
                f"dataset：{path}：weight 应大于 0（当前为 {asked:g}）",
            ),
            hint=text(
                "0.5 takes half of the rows, 2 takes each twice",
                "0.5 取一半的行，2 表示每行取两次",
            ),
        )
    return float(asked)


def _pairs(renames: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(renames.items()))


def _counted(path: str) -> tuple[str, int | None]:
    """Split `id#500`; a path that exists with that very name is left alone."""
    head, mark, tail = path.rpartition("#")
    if not mark or Path(path).expanduser().exists():
        return path, None
    if not (tail.isascii() and tail.isdecimal()) or int(tail) == 0:
        raise _no_count(path, "#", tail)
    return head, int(tail)


def _no_count(path: str, after: str, got: str) -> DataError:
    return DataError(
        text(
            f"dataset: {path}: after {after} stands the number of rows (got {got})",
            f"dataset：{path}：{after} 之后应为行数（当前为 {got}）",
        ),
        hint=text("write 1 or more, as in my.jsonl#500", "请写 1 或更大的数，如 my.jsonl#500"),
    )


def _registered(source: RowSource) -> RowSource:
    """Take what dataset_info.json says of a file that is named by its path or by its entry."""
    path = Path(source.path).expanduser()
    entry = None if path.is_dir() else entry_named(path.name, path.parent)
    if entry is None:
        return source
    return replace(
        source,
        path=str(path.parent / entry.file_name),
        num_samples=source.num_samples or entry.num_samples,
        columns=_pairs({**dict(entry.columns), **dict(source.columns)}),
        tags=entry.tags,
    )


def resolve(source: RowSource, local: Path) -> RowSource:
    """Return the source with the local path it was found or fetched at."""
    return replace(source, path=str(local))
