"""Check the `columns` of a config: the files have what is renamed, our formats the new names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from swiftbox.data.formats import KNOWN, OPTIONAL, PROMPTED
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError
from swiftbox.formatting import nearest, suggestion_ending
from swiftbox.language import text


def require_known_names(sources: Iterable[RowSource], stage: str) -> None:
    """Raise DataError if a column is renamed to a name that no format has."""
    if stage in PROMPTED:  # their reward functions get columns of any name
        return
    names = KNOWN | OPTIONAL
    for column, name in _renames(sources):
        if name not in names:
            end = suggestion_ending(nearest(name, names))
            raise DataError(
                text(
                    f"columns: {column}: no format has a column {name}{end}",
                    f"columns：{column}：没有格式含 {name} 列{end}",
                ),
                hint=_how_to_rename(),
            )


def require_present(unseen: Collection[str], sources: Iterable[RowSource]) -> None:
    """Raise DataError if a column is renamed that no row has."""
    if unseen:
        names, paths = ", ".join(sorted(unseen)), ", ".join(source.path for source in sources)
        raise DataError(
            text(
                f"columns: no row of {paths} has a column {names}",
                f"columns：{paths} 的数据行中没有 {names} 列",
            ),
            hint=_how_to_rename(),
        )


def _renames(sources: Iterable[RowSource]) -> Iterator[tuple[str, str]]:
    """Yield the columns that the config renames, and their new names."""
    for source in sources:
        yield from ((column, name) for column, name in source.columns if column in source.renamed)


def _how_to_rename() -> str:
    return text(
        "write {column of the file: column of a format}; `swiftbox guide data` lists the formats",
        "写法为 {文件中的列: 格式中的列}；`swiftbox guide data` 列出各种格式",
    )
