"""Multiple-choice questions in a folder: files named by README.md, rows of C-Eval or MMLU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.data.example import RowError
from swiftbox.data.readers import READERS, read_rows, row_type
from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.security.paths import fault_of_relative, shown

LETTERS = "ABCDEFGHIJ"

QUESTION_SPLITS = ("val", "validation", "test")
"""The first of these in a folder is used; C-Eval's test split has no answers."""

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
    """Return the questions, the first `limit` of each subject; raise DataError for bad rows."""
    return list(_limited(_split(folder, QUESTION_SPLITS), limit))


def examples(folder: Path) -> list[Question]:
    """Return the worked examples."""
    return list(_split(folder, EXAMPLE_SPLITS))


def _limited(rows: Iterator[Question], limit: int | None) -> Iterator[Question]:
    counts: dict[str, int] = {}
    for question in rows:
        counts[question.subject] = counts.get(question.subject, 0) + 1
        if limit is None or counts[question.subject] <= limit:
            yield question


def data_files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return the files of a data folder by config and split, as its README.md names them.

    Raises DataError for a README that names no files, and for missing files.
    """
    import yaml

    try:
        content = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        content = ""
    head = content.split("---\n")[1] if content.startswith("---\n") else ""
    try:
        metadata = yaml.safe_load(head) or {}
        configs = {
            str(config.get("config_name", "default")): _files(folder, config["data_files"])
            for config in metadata["configs"]
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
    _require_files(folder, configs)
    return configs


def _require_files(folder: Path, configs: Mapping[str, Mapping[str, list[Path]]]) -> None:
    missing = [
        str(file)
        for config in configs.values()
        for files in config.values()
        for file in files
        if not file.is_file()
    ]
    if missing:
        raise DataError(
            text(f"missing: {', '.join(missing[:5])}", f"文件不存在：{', '.join(missing[:5])}"),
            hint=text(f"{folder}/README.md names them", f"由 {folder}/README.md 列出"),
        )


def _files(folder: Path, entries: Any) -> dict[str, list[Path]]:
    if isinstance(entries, str) or (isinstance(entries, list) and isinstance(entries[0], str)):
        entries = [{"split": "train", "path": entries}]
    splits: dict[str, list[Path]] = {}
    for entry in entries:
        paths = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
        for path in paths:
            if not isinstance(path, str) or (fault := fault_of_relative(path)):
                raise _not_inside(folder, path, fault if isinstance(path, str) else "")
        files = [
            match for path in paths for match in (sorted(folder.glob(path)) or [folder / path])
        ]
        splits.setdefault(str(entry["split"]), []).extend(files)
    return splits


def _not_inside(folder: Path, path: object, fault: str) -> DataError:
    name = shown(path)
    return DataError(
        text(
            f"{folder}/README.md names {name}, which is not a file of this folder: {fault}",
            f"{folder}/README.md 中的 {name} 不是本目录中的文件：{fault}",
        ),
        hint=text("do not use this benchmark's data", "请勿使用该评测数据"),
    )


def _split(folder: Path, names: Sequence[str]) -> Iterator[Question]:
    for config, splits in data_files(folder).items():
        name = next((split for split in names if split in splits), None)
        for path in splits.get(name or "", ()):
            for number, (line, row) in enumerate(_rows(path)):
                try:
                    yield _question(row, config, number)
                except (LookupError, TypeError, ValueError) as error:
                    raise DataError(
                        text(
                            f"{path}:{line}: not a question with choices ({error})",
                            f"{path}:{line}：不是带选项的题目（{error}）",
                        ),
                        hint=text(
                            "fix the row, or download the benchmark again",
                            "请修正该行，或重新下载评测数据",
                        ),
                    ) from None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if row_type(path) is None:
        raise DataError(
            text(f"{path}: cannot be read", f"{path}：无法读取"),
            hint=text(
                f"give files of these kinds: {', '.join(READERS)}",
                f"请给出以下格式的文件：{', '.join(READERS)}",
            ),
        )
    for line, row in read_rows(path):
        if isinstance(row, RowError):
            raise DataError(
                f"{path}:{line}: {row.reason}",
                hint=text(
                    "fix the row, or download the benchmark again", "请修正该行，或重新下载评测数据"
                ),
            )
        yield line, row


def _question(row: Mapping[str, Any], config: str, number: int) -> Question:
    """Read a row of MMLU's shape (choices, a number) or C-Eval's (A to D, a letter)."""
    subject = str(row.get("subject") or config)
    if "choices" in row:
        choices = tuple(str(choice) for choice in row["choices"])
        answer = int(row["answer"])
    else:
        letters = [letter for letter in LETTERS if row.get(letter) not in (None, "")]
        choices = tuple(str(row[letter]) for letter in letters)
        answer = letters.index(str(row["answer"]).strip().upper())
    if not 0 <= answer < len(choices):
        raise ValueError(f"answer: {row['answer']}")
    name = str(row.get("id", number))
    return Question(f"{subject}/{name}", subject, str(row["question"]), choices, answer)


def as_json(rows: Sequence[Question]) -> str:
    """Write questions as JSON, one per line."""
    return "".join(
        json.dumps({**vars(question), "choices": list(question.choices)}, ensure_ascii=False) + "\n"
        for question in rows
    )
