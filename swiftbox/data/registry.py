"""LLaMA-Factory's dataset_info.json beside the data: what it says of a file; never required.

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

INFO = "dataset_info.json"

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
"""Their names of columns in the names of our formats."""

SPEAKERS = {
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}

TOLD = ("conversations", "chosen", "rejected")
"""Columns with turns, which tags speak of."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DatasetEntry:
    """What dataset_info.json says of one file: its columns and tags in the words of our formats."""

    file_name: str
    columns: Pairs = ()
    tags: Pairs = ()
    num_samples: int | None = None


def entry_named(name: str, folder: Path) -> DatasetEntry | None:
    """Return the entry of a name, else the first one that lists the name as its file."""
    entries = _entries(folder)
    if name in entries:
        return entries[name]
    return next((entry for entry in entries.values() if entry.file_name == name), None)


def entry_of(file: Path, root: Path) -> DatasetEntry | None:
    """Return the first entry that lists a file of a folder, beside the file or in the folder."""
    found = entry_named_file(file.name, file.parent)
    if found is None and file.parent != root:
        found = entry_named_file(file.relative_to(root).as_posix(), root)
    return found


def entry_named_file(file_name: str, folder: Path) -> DatasetEntry | None:
    """Return the first entry of a folder's registry that lists a file."""
    entries = _entries(folder).values()
    return next((entry for entry in entries if entry.file_name == file_name), None)


def _entries(folder: Path) -> dict[str, DatasetEntry]:
    info = folder / INFO
    if not info.is_file():
        return {}
    try:
        found = json.loads(info.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            text(f"{info}: cannot be read ({error})", f"{info}：无法读取（{error}）"),
            hint=text("mend it or move it away", "请修正或移走该文件"),
        ) from None
    if not isinstance(found, dict):
        return {}
    return {
        name: _entry(said)
        for name, said in found.items()
        if isinstance(said, dict) and isinstance(said.get("file_name"), str)
    }


def _entry(said: Mapping[str, Any]) -> DatasetEntry:
    columns = _texts(said.get("columns"))
    ours = dict(COLUMNS)
    answered = columns.keys() & {"response", "messages", "chosen", "kto_tag"}
    if columns and not answered and not said.get("ranking"):
        ours["prompt"] = "text"  # how they write a file for pretraining
    number = said.get("num_samples")
    return DatasetEntry(
        file_name=str(said["file_name"]),
        columns=tuple((file, ours[key]) for key, file in columns.items() if key in ours),
        tags=tuple(_texts(said.get("tags")).items()),
        num_samples=number if isinstance(number, int) and number > 0 else None,
    )


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: one for key, one in value.items() if isinstance(one, str) and one}


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row with its columns renamed; a renamed column takes the place of a namesake."""
    kept = {key: value for key, value in row.items() if key not in columns}
    return kept | {columns[key]: value for key, value in row.items() if key in columns}


def retagged(row: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a row whose turns are told with `from` and `value`, not with tags of its own.

    Turns that are no objects, and speakers that the tags do not name, stay for the check to see.
    """
    said_by, said = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    speakers = {tags[key]: ours for key, ours in SPEAKERS.items() if key in tags}
    names = {said_by: "from", said: "value"}

    def retold(turn: Any) -> Any:
        if not isinstance(turn, dict) or said_by not in turn:
            return turn
        speaker = turn[said_by]
        ours = speakers.get(speaker, speaker) if isinstance(speaker, str) else speaker
        return {**{names.get(key, key): turn[key] for key in turn}, "from": ours}

    found = dict(row)
    for column in TOLD:
        value = row.get(column)
        if isinstance(value, list):
            found[column] = [retold(turn) for turn in value]
        elif isinstance(value, dict):
            found[column] = retold(value)
    return found
