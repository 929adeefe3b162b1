"""A data file that does not exist: the error names what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox.data.missing_files import missing_file, neighbours_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data/train.jsonl", "data/test.csv", "data/notes.md", "data/my_rows.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("data/trian.jsonl", ["data/train.jsonl"]),
        ("data/train.json", ["data/train.jsonl"]),
        ("data/Train.jsonl", ["data/train.jsonl"]),
        ("dat/train.jsonl", ["data/train.jsonl"]),
        ("data/my_row.jsonl.gz", ["data/my_rows.json"]),
        ("dta", ["data"]),
        ("data/other.jsonl", []),
        ("nothing/like/it.jsonl", []),
    ],
)
def test_the_nearest_neighbour_is_named(folder: Path, name: str, meant: list[str]) -> None:
    assert neighbours_of(name) == meant
    assert neighbours_of(str(folder / name)) == [str(folder / path) for path in meant]


@pytest.mark.usefixtures("folder")
def test_the_error_asks_for_it_under_the_name_of_its_key() -> None:
    error = missing_file("data/trian.jsonl", "val_dataset")
    assert error.message == "val_dataset: no file data/trian.jsonl"
    assert error.hint == "did you mean data/train.jsonl?"
    assert "where the command runs" in missing_file("x.jsonl").hint
