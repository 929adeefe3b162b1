"""`split:` chooses the files of a split and a part of its rows, as the datasets library does."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from row_files import write

from swiftbox.data.check import check_rows
from swiftbox.data.files import files_of, rows_of
from swiftbox.data.source import parse_sources
from swiftbox.data.splits import parse_split
from swiftbox.errors import DataError


def numbered(count: int) -> list[dict[str, str]]:
    return [{"query": str(number), "response": "a"} for number in range(count)]


def taken(path: Path, split: str) -> list[int]:
    (source,) = parse_sources([{"path": str(path), "split": split}], columns={})
    return [int(row["query"]) for _, _, row in rows_of(source, files_of(source)) if row]


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", range(200)),
        ("train[:1%]", range(2)),
        ("train[10%:]", range(20, 200)),
        ("train[100:120]", range(100, 120)),
        ("train[:5]", range(5)),
        ("train[195:]", range(195, 200)),
        ("train[-5%:]", range(190, 200)),
        ("train[:-190]", range(10)),
        ("train[50%:51%]", range(100, 102)),
        ("[:3]", range(3)),
        ("train[150:900]", range(150, 200)),
    ],
)
def test_a_split_takes_its_part_of_the_rows(split: str, rows: range, tmp_path: Path) -> None:
    write(tmp_path / "train-0.jsonl", *numbered(200)[:120])
    write(tmp_path / "train-1.jsonl", "", *numbered(200)[120:])
    write(tmp_path / "test.jsonl", {"query": "7", "response": "a"})
    assert taken(tmp_path, split) == list(rows)


def test_percents_are_of_the_rows_of_any_kind_of_file(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(numbered(50))
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("query,response\n" + "9,a\n" * 50, encoding="utf-8")
    assert taken(tmp_path / "a.parquet", "train[98%:]") == [49]
    assert taken(tmp_path / "b.csv", "train[:10%]") == [9] * 5


def test_files_without_a_split_are_those_of_train(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", *numbered(3))
    assert taken(tmp_path, "train") == [0, 1, 2]
    with pytest.raises(DataError, match="no file of test"):
        taken(tmp_path, "test")


def test_a_split_of_one_file_is_refused_unless_it_is_named_so(tmp_path: Path) -> None:
    path = write(tmp_path / "rows-test.jsonl", *numbered(3))
    assert taken(path, "train") == taken(path, "test") == [0, 1, 2]
    with pytest.raises(DataError, match="is one file and has no split validation"):
        taken(path, "validation")


def test_a_split_whose_name_has_several_parts_is_found(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train_sft-00000-of-00001.jsonl", *numbered(2))
    write(tmp_path / "data" / "train_gen-00000-of-00001.jsonl", *numbered(5))
    assert taken(tmp_path, "train_sft") == [0, 1]


@pytest.mark.parametrize("split", ["train+test", "train[:101%]", "train[1]", "train[a:]", "train["])
def test_a_malformed_split_is_refused(split: str) -> None:
    with pytest.raises(DataError, match="split should be a name such as train"):
        parse_split(split, "a")


def test_rows_outside_of_the_part_are_not_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *numbered(10), "{bad")
    sources = parse_sources([{"path": str(path), "split": "train[:5]"}], columns={})
    checked = check_rows(sources, stage="sft", max_bad_rows=0)
    assert checked.rows == 5
    assert "5 taken (a.jsonl train[:5])" in checked.summary()
