"""Cells separated by semicolons or tabs are read where the rows agree with the header."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_files import complaints, questions, source

from swiftbox.data.check import check_rows


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("query;response\nq, r;a\nq, r;b\n", "columns separated by ;"),
        ("query\tresponse\nq, r\ta;b\n\nq, r\tc\n", "columns separated by tabs"),
        ('query;response, short\n"q, r";a\n"q, r";b\n', "columns separated by ;"),
        ('query,response\n"q, r",a;b\n"q, r",c\n', ""),
    ],
)
def test_the_separator_is_the_one_that_header_and_rows_agree_on(
    content: str, note: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content, encoding="utf-8")
    names = {"response, short": "response"} if "short" in content else {}
    assert questions(path, **names) == ["q, r", "q, r"]
    summary = check_rows(source(path, **names), stage="sft", max_bad_rows=0).summary()
    assert note in summary
    assert ("separated" in summary) is bool(note)


def test_a_tsv_file_has_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("query\tresponse\nq;,\ta\n", encoding="utf-8")
    assert questions(path) == ["q;,"]


def test_a_file_that_two_separators_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query,x;response\nq,x;a\n", encoding="utf-8")
    assert complaints(path)[0].startswith("a.csv:1 its columns may be separated by commas")


def test_a_row_that_breaks_a_separator_found_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query;response\n" + "q;a\n" * 300 + "q;a;b\n", encoding="utf-8")
    assert complaints(path) == ["a.csv:302 should have 2 cells like the header (got 3)"]


def test_one_column_of_text_keeps_its_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\none; two\nthree\n", encoding="utf-8")
    assert check_rows(source(path), stage="pt", max_bad_rows=0).rows == 2
