"""Look at every row before anything heavy starts; report all that is wrong, once, with lines."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.data.example import Example, RowError
from swiftbox.data.formats import Format, detect
from swiftbox.data.readers import READERS, files_of
from swiftbox.data.source import Source
from swiftbox.errors import DataError
from swiftbox.language import text

MOST_LISTED = 200
"""Bad rows listed one by one; a file with more has one cause, not thousands."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be trained on: where it stands and why."""

    file: str
    line: int
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.reason}"


@dataclass
class Checked:
    """What a check found; the examples only where they were asked for."""

    rows: int = 0
    duplicates: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    bad: list[BadRow] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line for people."""
        listed = ", ".join(f"{count} {name}" for name, count in self.formats.most_common())
        line = text(f"rows: {self.rows} ({listed})", f"数据：{self.rows} 行（{listed}）")
        if self.bad:
            line += text(f", {len(self.bad)} bad rows skipped", f"，跳过 {len(self.bad)} 个坏行")
        if self.duplicates:
            line += text(f", {self.duplicates} exact duplicates", f"，{self.duplicates} 行完全重复")
        return line


def check_rows(sources: Iterable[Source], *, stage: str, max_bad_rows: int) -> Checked:
    """Check every row of local datasets; raise DataError with all bad rows when too many are."""
    return _check(sources, stage=stage, max_bad_rows=max_bad_rows, keep=False, seed=0)


def load_examples(
    sources: Iterable[Source], *, stage: str, max_bad_rows: int, seed: int
) -> Checked:
    """Check every row and return the examples; a source with num_samples gives a seeded sample."""
    return _check(sources, stage=stage, max_bad_rows=max_bad_rows, keep=True, seed=seed)


def _check(
    sources: Iterable[Source], *, stage: str, max_bad_rows: int, keep: bool, seed: int
) -> Checked:
    checked = Checked()
    seen: set[int] = set()
    for source in sources:
        own: list[Example] = []
        for file, line, row in rows_of(source):
            try:
                if isinstance(row, RowError):
                    raise row
                chosen = detect(frozenset(row), stage)
                example = chosen.read(row)
            except RowError as error:
                checked.bad.append(BadRow(file, line, error.kind, error.reason))
                continue
            _count(checked, chosen, example, seen)
            own.append(example) if keep else None
        checked.examples += _sample(own, source, seed)
    if len(checked.bad) > max_bad_rows:
        raise too_many(checked, max_bad_rows)
    if not checked.rows:
        raise DataError(
            text("dataset: there are no rows", "dataset：没有任何数据行"),
            hint=text("check the file", "请检查文件"),
        )
    return checked


def _count(checked: Checked, chosen: Format, example: Example, seen: set[int]) -> None:
    checked.rows += 1
    checked.formats[chosen.name] += 1
    key = hash((example.text, *((one.role, one.content) for one in example.messages)))
    checked.duplicates += key in seen
    seen.add(key)


def _sample(examples: list[Example], source: Source, seed: int) -> list[Example]:
    if source.num_samples is None or source.num_samples >= len(examples):
        return examples
    chosen = random.Random(seed).sample(range(len(examples)), source.num_samples)
    return [examples[index] for index in sorted(chosen)]


def rows_of(source: Source) -> Iterator[tuple[str, int, Mapping[str, Any] | RowError]]:
    """Yield file name, line and row of a local source, its columns renamed."""
    renames = dict(source.columns)
    for file in part_of(files_of(Path(source.path).expanduser()), source):
        for line, row in READERS[file.suffix.lower()](file):
            if renames and not isinstance(row, RowError):
                row = {renames.get(key, key): value for key, value in row.items()}  # noqa: PLW2901
            yield file.name, line, row


def part_of(files: list[Path], source: Source) -> list[Path]:
    """Choose the files of a subset and split by their names; without a split, those of `train`.

    Raises DataError when a subset or split that was asked for names no file.
    """
    found = files
    for asked in (source.subset, source.split):
        if asked is None:
            continue
        found = [file for file in found if asked in (*file.parts, *words(file))]
        if not found:
            listed = ", ".join(sorted({file.name for file in files})[:8])
            raise DataError(
                text(
                    f"dataset: {source.path}: no file of {asked} (there are {listed})",
                    f"dataset：{source.path}：没有 {asked} 对应的文件（有 {listed}）",
                )
            )
    if source.split is None and len(found) > 1:
        training = [file for file in found if "train" in (*words(file), file.parent.name)]
        return training or found
    return found


def words(file: Path) -> list[str]:
    """Split a file's name where hubs join subset, split and shard: train-00000-of-00002."""
    return re.split(r"[-_.]", file.stem)


def too_many(checked: Checked, max_bad_rows: int) -> DataError:
    """Describe all bad rows of a check as one error."""
    bad = checked.bad
    total = checked.rows + len(bad)
    kinds = len({one.kind for one in bad})
    lines = [str(one) for one in bad[:MOST_LISTED]]
    if len(bad) > MOST_LISTED:
        more = len(bad) - MOST_LISTED
        lines.append(text(f"and {more} more", f"以及另外 {more} 行"))
    lines.append(
        text(
            f"{len(bad)} of {total} rows are bad ({kinds} kinds)",
            f"{total} 行中有 {len(bad)} 行有问题（{kinds} 类）",
        )
    )
    return DataError(
        "\n".join(lines),
        hint=text(
            f"mend them, or let them be skipped and counted: max_bad_rows={len(bad)} "
            f"(now {max_bad_rows})",
            f"请修正，或设 max_bad_rows={len(bad)} 跳过并计数（当前为 {max_bad_rows}）",
        ),
    )


def dataset_hash(sources: Iterable[Source]) -> str:
    """Return the sha256 over the bytes of all files, for the record of a run."""
    digest = hashlib.sha256()
    for source in sources:
        for file in files_of(Path(source.path).expanduser()):
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
    return digest.hexdigest()
