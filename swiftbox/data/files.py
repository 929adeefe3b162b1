"""The files of a source and their rows, with columns renamed to those of our formats."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.data.foreign_files import SUFFIXES, foreign_error
from swiftbox.data.missing_files import missing_file
from swiftbox.data.readers import READERS, count_rows, read_rows, row_type
from swiftbox.data.registry import entry_of, rename_columns, rename_tags
from swiftbox.data.source import RowSource
from swiftbox.data.splits import parse_split
from swiftbox.errors import DataError
from swiftbox.files import reason_of
from swiftbox.language import text
from swiftbox.security.regular import require_regular

DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "configuration.json", "config.json"}
"""Files next to the data that describe it."""

MAX_FILES = 100_000
"""Of a dataset; a folder with more is a disk, or a home."""

PlacedRow = tuple[str, int, "Mapping[str, Any] | RowError"]
"""A row with its file and line."""

HELD_OUT = {"test", "validation", "valid", "val", "dev", "eval"}
"""Names of splits that are trained on only if `split` or `subset` names them."""

NUMBERED = re.compile(r"-\d+-of-\d+.*")
"""The number that hubs put behind the split in a file's name."""

TRAIN_SPLIT = "train"
SPLITS = {TRAIN_SPLIT, *HELD_OUT}


@dataclass(frozen=True)
class ChosenFiles:
    """The files of a source to read, and those of other splits that are left out."""

    root: Path
    files: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()

    def label(self, file: Path) -> str:
        """Return a file's name for reports: its path in the folder, or its name."""
        return file.relative_to(self.root).as_posix() if file != self.root else file.name


def files_of(source: RowSource) -> ChosenFiles:
    """Return the file of a source, or the sorted files of a folder that match split and subset.

    Raises DataError if there is no such file.
    """
    root = Path(source.path).expanduser()
    try:
        require_regular(root)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise _unreadable(root, error) from None
    if root.is_dir():
        return _part_of(root, _all_of(root), source)
    if not root.exists():
        raise missing_file(source.path)
    if kind := SUFFIXES.get(root.suffix.lower()):
        raise foreign_error(root, kind)
    if row_type(root) is None:
        known = ", ".join(READERS)
        raise DataError(
            text(
                f"dataset: {root}: unknown file type, should be one of {known}",
                f"dataset：{root}：未知的文件类型，应为 {known} 之一",
            ),
            hint=text("convert it to jsonl", "请转换为 jsonl"),
        )
    split = parse_split(source.split, source.path).name
    if split not in (None, TRAIN_SPLIT, *_names(root, root.parent)):
        raise _no_split_in_file(source, str(split))
    return ChosenFiles(root, (root,))


def _no_split_in_file(source: RowSource, split: str) -> DataError:
    return DataError(
        text(
            f"dataset: {source.path}: is one file and has no split {split}",
            f"dataset：{source.path}：是单个文件，没有划分 {split}",
        ),
        hint=text(
            "give the file of that split, or the folder with the files of all splits",
            "请给出该划分的文件，或含有各划分文件的目录",
        ),
    )


def _all_of(root: Path) -> list[Path]:
    files = sorted(
        path
        for path in _walk(root)
        if row_type(path) and path.is_file() and path.name not in DESCRIPTIONS
    )
    if not files:
        known = ", ".join(READERS)
        raise DataError(
            text(f"dataset: no data files in {root}", f"dataset：{root} 中没有数据文件"),
            hint=text(f"it should contain {known} files", f"应包含 {known} 文件"),
        )
    return files


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, hidden ones left out; raise DataError if they are too many.

    Folders that cannot be read are left out, and links to folders are not followed.
    """
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += len(names)
        if count > MAX_FILES:
            raise DataError(
                text(
                    f"dataset: {root} has more than {MAX_FILES:,} files",
                    f"dataset：{root} 中的文件超过 {MAX_FILES:,} 个",
                ),
                hint=text("give the folder that holds only the data", "请给出只含数据的目录"),
            )
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _part_of(root: Path, files: list[Path], source: RowSource) -> ChosenFiles:
    matching = files
    split = parse_split(source.split, source.path).name
    if split == TRAIN_SPLIT and not any(SPLITS & _names(file, root) for file in files):
        split = None  # hubs take files without a split for training
    for part in (source.subset, split):
        if part is None:
            continue
        matching = [file for file in matching if part in _names(file, root)]
        if not matching:
            listed = ", ".join(sorted({file.name for file in files})[:8])
            raise DataError(
                text(
                    f"dataset: {source.path}: no file of {part} (there are {listed})",
                    f"dataset：{source.path}：没有 {part} 对应的文件（有 {listed}）",
                ),
                hint=text(
                    "a file belongs to a split or subset if its name or folder contains that name",
                    "文件名或所在目录中应含有该 split 或 subset 的名称",
                ),
            )
    if split is not None:
        return ChosenFiles(root, tuple(matching))
    training = [file for file in matching if HELD_OUT.isdisjoint(_names(file, root))]
    if not training:
        return ChosenFiles(root, tuple(matching))
    left_out = tuple(file for file in matching if file not in training)
    return ChosenFiles(root, tuple(training), left_out)


def _names(file: Path, root: Path) -> set[str]:
    """Return the folders and the name of a file, complete and split at the separators of hubs.

    `en/train_sft-00000-of-00002.parquet` -> en, train, sft, 00000, of, 00002, train_sft, and the
    name itself.
    """
    inside = file.relative_to(root)
    folders = [name for part in inside.parts[:-1] for name in (part, *re.split(r"[-_.]", part))]
    unnumbered = NUMBERED.sub("", inside.stem)
    return {*folders, inside.name, inside.stem, unnumbered, *re.split(r"[-_.]", inside.stem)}


def rows_of(
    source: RowSource, chosen: ChosenFiles, unseen: set[str] | None = None
) -> Iterator[PlacedRow]:
    """Return the file name, the line and the row of all rows, with columns renamed.

    Takes the columns that a row has out of `unseen`. Raises DataError if a file cannot be read.
    """
    split = parse_split(source.split, source.path)
    rows = _all_rows(source, chosen, unseen)
    if not split.takes_part:
        return rows
    total = sum(map(_row_count, chosen.files)) if split.needs_total else sys.maxsize
    return islice(rows, *split.bounds(total))


def _row_count(file: Path) -> int:
    try:
        return count_rows(file)
    except OSError as error:
        raise _unreadable(file, error) from None


def _all_rows(
    source: RowSource, chosen: ChosenFiles, unseen: set[str] | None
) -> Iterator[PlacedRow]:
    for file in chosen.files:
        label = chosen.label(file)
        columns, tags = _renames(source, file, chosen)
        try:
            for line, row in read_rows(file):
                if unseen and not isinstance(row, RowError):
                    unseen.difference_update(row)
                if (columns or tags) and not isinstance(row, RowError):
                    row = rename_columns(row, columns)  # noqa: PLW2901 - the renamed row
                    row = rename_tags(row, tags) if tags else row  # noqa: PLW2901 - the same
                yield label, line, row
        except OSError as error:
            raise _unreadable(file, error) from None


def _renames(
    source: RowSource, file: Path, chosen: ChosenFiles
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the columns and the speakers of a file are renamed to."""
    columns, tags = dict(source.columns), dict(source.tags)
    entry = entry_of(file, chosen.root) if chosen.root.is_dir() else None
    if entry:
        columns, tags = {**dict(entry.columns), **columns}, dict(entry.tags)
    return columns, tags


def naming_of(source: RowSource) -> list[tuple[str, int, Any, Any]]:
    """Return what the rows of each file depend on beside its bytes: name, size, renamed columns."""
    chosen = files_of(source)
    namings = []
    for file in chosen.files:
        columns, tags = _renames(source, file, chosen)
        size = file.stat().st_size
        namings.append((chosen.label(file), size, sorted(columns.items()), sorted(tags.items())))
    return namings


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    cause = reason_of(error) if isinstance(error, OSError) else str(error)
    return DataError(
        text(f"dataset: {path}: cannot be read ({cause})", f"dataset：{path}：无法读取（{cause}）"),
        hint=text("check the file and its permissions", "请检查文件及其权限"),
    )


def dataset_hash(sources: Iterable[RowSource]) -> str:
    """Return the sha256 over the bytes of all files that are read, for the run's record."""
    import hashlib  # takes milliseconds; a check hashes nothing

    digest = hashlib.sha256()
    for source in sources:
        for file in files_of(source).files:
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
    return digest.hexdigest()
