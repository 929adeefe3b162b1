"""What `dataset:` names: a path or an id, how many rows of it, which columns are renamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftbox.errors import DataError
from swiftbox.language import text

INFO = "dataset_info.json"


@dataclass(frozen=True)
class Source:
    """One dataset: where, which part, how many rows (a seeded sample in file order), renames."""

    path: str
    subset: str | None = None
    split: str | None = None
    num_samples: int | None = None
    columns: tuple[tuple[str, str], ...] = ()


def parse_sources(
    named: Iterable[str | Mapping[str, Any]], *, columns: Mapping[str, str]
) -> tuple[Source, ...]:
    """Read the values of `dataset:`; `columns` renames in all of them."""
    return tuple(_parse(one, columns) for one in named)


def _parse(one: str | Mapping[str, Any], columns: Mapping[str, str]) -> Source:
    values: Mapping[str, Any] = {"path": one} if isinstance(one, str) else one
    path, count = _counted(str(values["path"]))
    renames = {**columns, **(values.get("columns") or {})}
    num_samples = values.get("num_samples") or count
    found = Source(
        path=path,
        subset=values.get("subset"),
        split=values.get("split"),
        num_samples=num_samples,
        columns=tuple(sorted(renames.items())),
    )
    return _registered(found)


def _counted(path: str) -> tuple[str, int | None]:
    """Split `id#500`; a path that exists with that very name is left alone."""
    head, mark, tail = path.rpartition("#")
    if not mark or Path(path).expanduser().exists():
        return path, None
    if not tail.isdigit() or int(tail) == 0:
        raise DataError(
            text(
                f"dataset: {path}: after # stands the number of rows (got {tail})",
                f"dataset：{path}：# 之后应为行数（当前为 {tail}）",
            )
        )
    return head, int(tail)


def _registered(source: Source) -> Source:
    """Honour LLaMA-Factory's dataset_info.json beside a file: its columns and its file names."""
    path = Path(source.path).expanduser()
    info = path.parent / INFO
    if not info.is_file():
        return source
    try:
        entries = json.loads(info.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            text(f"{info}: is not JSON ({error})", f"{info}：不是合法的 JSON（{error}）")
        ) from None
    for name, entry in entries.items():
        file = entry.get("file_name") if isinstance(entry, dict) else None
        if file and path.name in (name, file):
            renames = {**_renames(entry), **dict(source.columns)}
            return replace(
                source, path=str(path.parent / file), columns=tuple(sorted(renames.items()))
            )
    return source


def _renames(entry: Mapping[str, Any]) -> dict[str, str]:
    """Turn their `columns` (our name: file's name) round, in the names of our formats."""
    ours = {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "history": "history",
        "messages": "conversations",
        "system": "system",
        "tools": "tools",
    }
    given = entry.get("columns") or {}
    return {file: ours[key] for key, file in given.items() if key in ours and file != ours[key]}


def resolve(source: Source, local: Path) -> Source:
    """Return the source with the local path it was found or fetched at."""
    return replace(source, path=str(local))
