"""LLaMA-Factory's dataset_info.json next to the data describes a file; it is never required.

https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import DataError
from swiftbox.language import text
from swiftbox.security.regular import read_regular

INFO = "dataset_info.json"

MAX_INFO_BYTES = 16 * 2**20
"""Far more than the largest registry; LLaMA-Factory's has 20 KiB."""

COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "messages": "conversations",
    "system": "system",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "label",
}
"""Its column names, and the names in our formats."""

SPEAKERS = {
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}

TURN_COLUMNS = ("conversations", "chosen", "rejected")
"""Columns with turns, which tags describe."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DatasetEntry:
    """One file in dataset_info.json: its columns and tags, under the names of our formats."""

    file_name: str
    columns: Pairs = ()
    tags: Pairs = ()
    num_samples: int | None = None


def entry_named(name: str, folder: Path) -> DatasetEntry | None:
    """Return the entry of this name, else the first entry whose file has this name."""
    entries = _entries(folder)
    if name in entries:
        return entries[name]
    return next((entry for entry in entries.values() if entry.file_name == name), None)


def entry_of(file: Path, root: Path) -> DatasetEntry | None:
    """Return the entry of a file in a folder, from the registry next to it or in the folder."""
    entry = entry_of_file(file.name, file.parent)
    if entry is None and file.parent != root:
        entry = entry_of_file(file.relative_to(root).as_posix(), root)
    return entry


def entry_of_file(file_name: str, folder: Path) -> DatasetEntry | None:
    """Return the first entry of a folder's registry that lists a file."""
    entries = _entries(folder).values()
    return next((entry for entry in entries if entry.file_name == file_name), None)


def _entries(folder: Path) -> dict[str, DatasetEntry]:
    info = folder / INFO
    if not info.is_file():
        return {}
    try:
        entries = json.loads(read_regular(info, MAX_INFO_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            text(f"{info}: cannot be read ({error})", f"{info}：无法读取（{error}）"),
            hint=text("fix the file or move it away", "请修正或移走该文件"),
        ) from None
    if not isinstance(entries, dict):
        return {}
    return {
        name: _entry(values)
        for name, values in entries.items()
        if isinstance(values, dict) and isinstance(values.get("file_name"), str)
    }


def _entry(values: Mapping[str, Any]) -> DatasetEntry:
    columns = _texts(values.get("columns"))
    ours = dict(COLUMNS)
    has_answer = columns.keys() & {"response", "messages", "chosen", "kto_tag"}
    if columns and not has_answer and not values.get("ranking"):
        ours["prompt"] = "text"  # its form of a file for pretraining
    number = values.get("num_samples")
    return DatasetEntry(
        file_name=str(values["file_name"]),
        columns=tuple((file, ours[key]) for key, file in columns.items() if key in ours),
        tags=tuple(_texts(values.get("tags")).items()),
        num_samples=number if isinstance(number, int) and number > 0 else None,
    )


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: name for key, name in value.items() if isinstance(name, str) and name}


def rename_columns(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row with its columns renamed; a renamed column replaces one of the same name."""
    unchanged = {key: value for key, value in row.items() if key not in columns}
    return unchanged | {columns[key]: value for key, value in row.items() if key in columns}


def rename_tags(row: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a row whose turns have the keys `from` and `value` in place of those of the tags.

    Turns that are not objects and speakers without a tag are left for the check to report.
    """
    role_key, content_key = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    speakers = {tags[key]: ours for key, ours in SPEAKERS.items() if key in tags}
    names = {role_key: "from", content_key: "value"}

    def rename_turn(turn: Any) -> Any:
        if not isinstance(turn, dict) or role_key not in turn:
            return turn
        speaker = turn[role_key]
        ours = speakers.get(speaker, speaker) if isinstance(speaker, str) else speaker
        return {**{names.get(key, key): turn[key] for key in turn}, "from": ours}

    renamed = dict(row)
    for column in TURN_COLUMNS:
        value = row.get(column)
        if isinstance(value, list):
            renamed[column] = [rename_turn(turn) for turn in value]
        elif isinstance(value, dict):
            renamed[column] = rename_turn(value)
    return renamed
