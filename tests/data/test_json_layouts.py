"""A file of JSON holds rows as lines, as an array, or as the only list of an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, complaints, examples

from swiftbox.data.json_layouts import wrapped_key
from swiftbox.data.readers import count_rows, reading_of

ROW = {"query": "q", "response": "a"}
TWO = [ROW, {"query": "q2", "response": "a"}]


def put(path: Path, value: Any, **options: Any) -> Path:
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("key", ["data", "train", "instances", "conversations"])
def test_the_only_list_of_an_object_is_read_and_its_key_is_reported(
    key: str, indent: int | None, tmp_path: Path
) -> None:
    rows: list[Any] = [{"messages": [Q, A]}] * 2 if key == "conversations" else TWO
    path = put(tmp_path / "a.json", {key: rows}, indent=indent)
    assert len(examples(path)) == count_rows(path) == 2
    assert reading_of(path) == [(f"rows of its list {key}", f"读取其中的列表 {key}")]


def test_an_object_may_say_more_than_its_list(tmp_path: Path) -> None:
    document = {"type": "text2text", "instances": TWO, "version": 1, "about": {"by": "me"}}
    assert len(examples(put(tmp_path / "a.json", document))) == 2


def test_a_bad_row_inside_an_object_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"data": [\n{json.dumps(ROW)},\n{{"query": "", "response": "a"}}\n]}}')
    assert complaints(path) == ["a.json:3 query is empty"]


@pytest.mark.parametrize(
    "document",
    [
        {"messages": [Q, A]},
        {"messages": [Q, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}]},
        {"data": ["question", "answer"], "id": "1"},
        {"data": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversation": [{"input": "q", "output": "a"}]},
        {"query": "q", "tools": [{"name": "f"}], "response": "a"},
        {"Query": "q", "examples": [{"input": "x", "output": "y"}], "response": "a"},
    ],
)
def test_an_object_that_is_one_row_is_read_as_a_row(document: Any, tmp_path: Path) -> None:
    assert wrapped_key(document) is None
    path = put(tmp_path / "a.json", document)
    assert len(examples(path)) == 1
    assert reading_of(path) == []


def test_an_object_with_two_lists_of_rows_is_not_guessed_at(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", {"train": TWO, "test": TWO}, indent=1)
    (problem,) = complaints(path)
    assert "an object with one list of them" in problem


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_in_a_jsonl_file_is_read_and_reported(indent: int | None, tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", TWO, indent=indent)
    assert len(examples(path)) == count_rows(path) == 2
    assert "a JSON array" in reading_of(path)[0][0]


def test_lines_that_are_arrays_are_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"[{json.dumps(ROW)}]\n" * 2)
    assert all("should be an object" in problem for problem in complaints(path))
    assert reading_of(path) == []
