"""The datasets that a picker offers: data files and caches first, then the catalogue's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swiftbox.data.readers import row_type
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.menu.options.cached import config_value, hub_ids
from swiftbox.menu.options.option import (
    ALL,
    LOCAL,
    Option,
    TableColumns,
    full_name,
    location,
    marked_local,
    matches,
)
from swiftbox.models import catalogue, local
from swiftbox.models.catalogue import Dataset
from swiftbox.models.dataset_columns import known_columns, reason_of, shape_of
from swiftbox.models.description import searchable, terms

PLAIN_TEXT = ".txt"

NOT_DATA = (".", "README", "requirements")
"""Prefixes of file names that are not datasets although a reader accepts them."""


@dataclass
class DatasetOptions:
    """The datasets to choose from."""

    for_download: bool = False
    """Whether the dataset is to be downloaded, by its id."""
    plain_text: bool = False
    """Whether the training reads plain text; else files of it are left out."""

    @cached_property
    def columns(self) -> TableColumns:
        """The columns of the list."""
        titles = (text("dataset", "数据集"), text("rows", "行数"), text("about", "内容"))
        return TableColumns(titles, (38, 11, 24), right=(1,))

    @cached_property
    def local(self) -> list[Option]:
        """The datasets on this machine: files of the current folder, then the caches'."""
        files = [Option(f"./{path.name}", f"./{path.name}") for path in self._files()]
        cached = [
            Option(config_value(dataset), dataset.id, dataset, catalogue.dataset(dataset.id))
            for dataset in local.list_local("dataset")
        ]
        return hub_ids(cached) if self.for_download else [*files, *cached]

    def _files(self) -> list[Path]:
        """Return the data files of the current folder; plain text first where it is read."""
        files = [
            path for path in _data_files(Path.cwd()) if self.plain_text or path.suffix != PLAIN_TEXT
        ]
        return sorted(
            files, key=lambda path: (self.plain_text and path.suffix != PLAIN_TEXT, path.name)
        )

    def views(self) -> list[tuple[str, str]]:
        """Return the views: key and title."""
        return [(ALL, text("all", "全部")), (LOCAL, text("here", "本机"))]

    def find(self, query: str, view: str, family: str = "") -> list[Option]:  # noqa: ARG002 - models have families
        """Return the datasets that match, those on this machine first."""
        on_this_machine = [option for option in self.local if matches(query, option.name)]
        if view == LOCAL:
            return on_this_machine
        names = {option.name.lower() for option in on_this_machine}
        rows = [row for row in catalogue.datasets() if _matches(row, query)]
        others = [Option(row.name, row.name, row=row) for row in rows]
        return [
            *on_this_machine,
            *(option for option in others if option.name.lower() not in names),
        ]

    def cells(self, option: Option) -> tuple[str, ...]:
        """Return a row's text in each column."""
        is_local = option.local is not None or option.row is None
        row = option.row if isinstance(option.row, Dataset) else None
        return (
            marked_local(option.name) if is_local else option.name,
            _amount(option, row),
            terms([*row.languages, *row.tags]) if row else "",
        )

    def details(self, option: Option) -> list[str]:
        """Return lines on a dataset: where it is, its subsets, its format."""
        lines = full_name(option, self.columns.widths[0])
        if option.local:
            lines.append(location(option.local))
        row = option.row if isinstance(option.row, Dataset) else None
        if row and row.subsets:
            subsets = ", ".join(row.subsets)
            lines.append(text(f"subsets: {subsets}", f"子集：{subsets}"))
        if row and row.format:
            lines.append(text(f"format: {row.format}", f"格式：{row.format}"))
        if row and (shape := shape_of(row.name)):
            columns = ", ".join(shape.columns)
            lines.append(text(f"columns: {columns}", f"列：{columns}"))
        if row and (reason := reason_of(known_columns(row))):
            lines.append(text(f"note: {reason}", f"注意：{reason}"))
        return lines


def _matches(row: Dataset, query: str) -> bool:
    """Tell whether a query, in English or in Chinese, matches a row of the catalogue."""
    about = searchable(*row.tags, *row.languages)
    return matches(query, row.id or "", row.hf_id or "", row.format or "", about)


def _amount(option: Option, row: Dataset | None) -> str:
    """Return the number of rows of a dataset, or its size if that is unknown."""
    if row and row.rows:
        return f"{row.rows:,}"
    if row and row.huge:
        return text("huge", "极多")
    return size(option.local.size_bytes) if option.local else ""


def _data_files(folder: Path) -> list[Path]:
    try:
        files = sorted(path for path in folder.iterdir() if row_type(path) and path.is_file())
    except OSError:
        return []
    return [path for path in files if not path.name.startswith(NOT_DATA)]
