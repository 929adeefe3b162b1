"""The files of a source and the rows in them, under the names that our formats know."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.data.readers import READERS
from swiftbox.data.registry import entry_of, renamed, retagged
from swiftbox.data.source import RowSource
from swiftbox.errors import DataError
from swiftbox.language import text

DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "configuration.json", "config.json"}
"""Files beside the data that describe it."""

HELD_OUT = {"test", "validation", "valid", "val", "dev", "eval"}
"""Names of splits that are not trained on unless they are asked for."""


@dataclass(frozen=True)
class Chosen:
    """The files of a source that are read, and those of other splits that are left out."""

    root: Path
    files: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()

    def label(self, file: Path) -> str:
        """Return the name of a file in a report: its place in the folder, or its own name."""
        return file.relative_to(self.root).as_posix() if file != self.root else file.name


def files_of(source: RowSource) -> Chosen:
    """Return the file a source names, or in order all of a folder that its split and subset name.

    Raises DataError when there is no such file.
    """
    root = Path(source.path).expanduser()
    if root.is_dir():
        return _part_of(root, _all_of(root), source)
    if not root.exists():
        raise DataError(
            text(f"dataset: no file {source.path}", f"dataset：文件 {source.path} 不存在"),
            hint=text(
                "relative paths start where the command runs", "相对路径以运行命令的目录为起点"
            ),
        )
    if root.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise DataError(
            text(f"dataset: {root} is none of {known}", f"dataset：{root} 不是 {known} 之一"),
            hint=text("convert it to jsonl", "请转换为 jsonl"),
        )
    return Chosen(root, (root,))


def _all_of(root: Path) -> list[Path]:
    found = [
        one
        for one in sorted(root.rglob("*"))
        if one.suffix.lower() in READERS
        and one.is_file()
        and one.name not in DESCRIPTIONS
        and not any(part.startswith(".") for part in one.relative_to(root).parts)
    ]
    if not found:
        known = ", ".join(READERS)
        raise DataError(
            text(f"dataset: no data files in {root}", f"dataset：{root} 中没有数据文件"),
            hint=text(f"it should hold {known}", f"应包含 {known}"),
        )
    return found


def _part_of(root: Path, files: list[Path], source: RowSource) -> Chosen:
    found = files
    for asked in (source.subset, source.split):
        if asked is None:
            continue
        found = [file for file in found if asked in _names(file, root)]
        if not found:
            listed = ", ".join(sorted({file.name for file in files})[:8])
            raise DataError(
                text(
                    f"dataset: {source.path}: no file of {asked} (there are {listed})",
                    f"dataset：{source.path}：没有 {asked} 对应的文件（有 {listed}）",
                ),
                hint=text(
                    "a file is of a split or subset when its name or folder says so",
                    "文件名或所在目录中应含有该 split 或 subset 的名称",
                ),
            )
    if source.split is not None:
        return Chosen(root, tuple(found))
    kept = [file for file in found if HELD_OUT.isdisjoint(_names(file, root))]
    if not kept:
        return Chosen(root, tuple(found))
    return Chosen(root, tuple(kept), tuple(file for file in found if file not in kept))


def _names(file: Path, root: Path) -> set[str]:
    """Return the folders of a file and its name, whole and split as hubs join split and shard.

    `en/train-00000-of-00002.parquet` -> en, train, 00000, of, 00002, and the name itself.
    """
    inside = file.relative_to(root)
    folders = [name for part in inside.parts[:-1] for name in (part, *re.split(r"[-_.]", part))]
    return {*folders, inside.name, inside.stem, *re.split(r"[-_.]", inside.stem)}


def rows_of(
    source: RowSource, chosen: Chosen
) -> Iterator[tuple[str, int, Mapping[str, Any] | RowError]]:
    """Yield the name of the file, the line and the row of all rows; columns are renamed.

    Raises DataError when a file cannot be read at all.
    """
    for file in chosen.files:
        label = chosen.label(file)
        columns, tags = dict(source.columns), dict(source.tags)
        entry = entry_of(file, chosen.root) if chosen.root.is_dir() else None
        if entry:
            columns, tags = {**dict(entry.columns), **columns}, dict(entry.tags)
        try:
            for line, row in READERS[file.suffix.lower()](file):
                if (columns or tags) and not isinstance(row, RowError):
                    row = renamed(row, columns)  # noqa: PLW2901 - the row under our names
                    row = retagged(row, tags) if tags else row  # noqa: PLW2901 - the same
                yield label, line, row
        except OSError as error:
            cause = error.strerror or str(error)
            raise DataError(
                text(f"{file}: cannot be read ({cause})", f"{file}：无法读取（{cause}）"),
                hint=text("check the file and its permissions", "请检查文件及其权限"),
            ) from None


def dataset_hash(sources: Iterable[RowSource]) -> str:
    """Return the sha256 over the bytes of all files that are read, for the record of a run."""
    digest = hashlib.sha256()
    for source in sources:
        for file in files_of(source).files:
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
    return digest.hexdigest()
