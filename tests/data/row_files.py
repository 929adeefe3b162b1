"""Files of rows written for the tests of data, and what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loaded_examples import load_examples

from swiftbox.data.example import Example
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import DataError

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def source(path: Path, **columns: str) -> tuple[RowSource, ...]:
    return parse_sources([str(path)], columns=columns)


def examples(path: Path, stage: str = "sft", **columns: str) -> list[Example]:
    checked = load_examples(source(path, **columns), stage=stage, max_bad_rows=0, seed=0)
    return checked.examples


def turns(example: Example) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def questions(path: Path, **columns: str) -> list[str]:
    return [example.messages[0].content for example in examples(path, **columns)]


def complaints(path: Path, stage: str = "sft", **columns: str) -> list[str]:
    """Return the report of a file with bad rows, line by line, without the closing summary."""
    with pytest.raises(DataError) as caught:
        examples(path, stage, **columns)
    return caught.value.message.splitlines()[:-1]
