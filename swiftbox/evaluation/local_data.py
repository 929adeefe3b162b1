"""Questions with choices in a folder: a README.md that names the files, C-Eval's or MMLU's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.data.readers import READERS
from swiftbox.errors import DataError
from swiftbox.language import text

LETTERS = "ABCDEFGHIJ"

ASKED_SPLITS = ("val", "validation", "test")
"""The first of these that a folder has is asked; C-Eval's test split has no answers."""

EXAMPLE_SPLITS = ("dev", "train")


@dataclass(frozen=True)
class Question:
    """One question with its choices; `answer` counts from 0."""

    id: str
    subject: str
    question: str
    choices: tuple[str, ...]
    answer: int


def questions(folder: Path, limit: int | None = None) -> list[Question]:
    """Return what is asked, the first `limit` of each subject; raise DataError for bad rows."""
    return list(_limited(_split(folder, ASKED_SPLITS), limit))


def examples(folder: Path) -> list[Question]:
    """Return the worked examples."""
    return list(_split(folder, EXAMPLE_SPLITS))


def _limited(found: Iterator[Question], limit: int | None) -> Iterator[Question]:
    counts: dict[str, int] = {}
    for one in found:
        counts[one.subject] = counts.get(one.subject, 0) + 1
        if limit is None or counts[one.subject] <= limit:
            yield one


def files_of(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return the files of a data folder by config and split, as its README.md names them.

    Raises DataError for a README without them, and for files that are not there.
    """
    import yaml

    try:
        content = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        content = ""
    head = content.split("---\n")[1] if content.startswith("---\n") else ""
    try:
        said = yaml.safe_load(head) or {}
        found = {
            str(one.get("config_name", "default")): _files(folder, one["data_files"])
            for one in said["configs"]
        }
    except (yaml.YAMLError, LookupError, TypeError, AttributeError):
        raise DataError(
            text(
                f"{folder}: its README.md names no files (configs: with data_files)",
                f"{folder}：其 README.md 未列出数据文件（configs 与 data_files）",
            ),
            hint=text(
                "see the sample sets in the package for the layout",
                "布局可参考安装包中的样本集",
            ),
        ) from None
    lost = [
        str(one)
        for config in found.values()
        for files in config.values()
        for one in files
        if not one.is_file()
    ]
    if lost:
        raise DataError(
            text(f"not there: {', '.join(lost[:5])}", f"文件不存在：{', '.join(lost[:5])}"),
            hint=text(f"{folder}/README.md names them", f"由 {folder}/README.md 列出"),
        )
    return found


def _files(folder: Path, said: Any) -> dict[str, list[Path]]:
    if isinstance(said, str) or (isinstance(said, list) and isinstance(said[0], str)):
        said = [{"split": "train", "path": said}]
    found: dict[str, list[Path]] = {}
    for one in said:
        paths = one["path"] if isinstance(one["path"], list) else [one["path"]]
        files = [
            match for path in paths for match in (sorted(folder.glob(path)) or [folder / path])
        ]
        found.setdefault(str(one["split"]), []).extend(files)
    return found


def _split(folder: Path, names: Sequence[str]) -> Iterator[Question]:
    for config, splits in files_of(folder).items():
        name = next((one for one in names if one in splits), None)
        for path in splits.get(name or "", ()):
            for number, (line, row) in enumerate(_rows(path)):
                try:
                    yield _question(row, config, number)
                except (LookupError, TypeError, ValueError) as error:
                    raise DataError(
                        text(
                            f"{path}:{line}: no question with choices ({error})",
                            f"{path}:{line}：不是带选项的题目（{error}）",
                        )
                    ) from None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix not in READERS:
        raise DataError(
            text(f"{path}: cannot be read", f"{path}：无法读取"),
            hint=", ".join(READERS),
        )
    for line, row in READERS[path.suffix](path):
        if isinstance(row, RowError):
            raise DataError(f"{path}:{line}: {row.reason}")
        yield line, row


def _question(row: Mapping[str, Any], config: str, number: int) -> Question:
    """Read a row of MMLU's shape (choices, a number) or C-Eval's (A to D, a letter)."""
    subject = str(row.get("subject") or config)
    if "choices" in row:
        choices = tuple(str(one) for one in row["choices"])
        answer = int(row["answer"])
    else:
        letters = [one for one in LETTERS if row.get(one) not in (None, "")]
        choices = tuple(str(row[one]) for one in letters)
        answer = letters.index(str(row["answer"]).strip().upper())
    if not 0 <= answer < len(choices):
        raise ValueError(f"answer: {row['answer']}")
    name = str(row.get("id", number))
    return Question(f"{subject}/{name}", subject, str(row["question"]), choices, answer)


def as_json(found: Sequence[Question]) -> str:
    """Write questions as one JSON object a line."""
    return "".join(
        json.dumps({**vars(one), "choices": list(one.choices)}, ensure_ascii=False) + "\n"
        for one in found
    )
