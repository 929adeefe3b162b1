"""Lines of rows; a broken place in a file is a bad row, and the rest is read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from row_files import A, Q, complaints, examples, questions, turns, write

from swiftbox.data import json_files, readers
from swiftbox.errors import DataError

GOOD = json.dumps({"query": "q", "response": "a"})
EMPTY = json.dumps({"query": "", "response": "a"})


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "is not JSON: Expecting property name"),
        (b'{"query": "\xff", "response": "a"}', "is not UTF-8 (byte 12)"),
        (b'{"query": "\xed\xa0\x80", "response": "a"}', "is not UTF-8 (byte 12)"),
        (b'{"query": "\\ud800", "response": "a"}', "lone surrogate"),
        (b'{"query": NaN, "response": "a"}', "is not JSON: NaN is not a JSON value"),
        (GOOD.encode() * 2, "is not JSON: Extra data at column "),
        (b"[" * 200_000, "is nested too deeply"),
        (b"null", "should be an object (got null)"),
    ],
)
def test_reading_continues_after_a_broken_line(line: bytes, reason: str, tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", GOOD.encode() + b"\n" + line + b"\n\n{}\n")
    first, second = complaints(path)
    assert first.startswith("a.jsonl:2 ")
    assert reason in first
    assert second.startswith("a.jsonl:4 no known format")


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="older than the limit")
def test_a_number_too_long_to_read_is_a_bad_row(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"n": ' + "1" * (sys.get_int_max_str_digits() + 1) + "}\n")
    assert "is not JSON" in complaints(path)[0]


def test_whole_surrogate_pairs_are_letters(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", r'{"query": "\ud83d\ude00", "response": "a"}')
    assert questions(path) == ["\U0001f600"]


def test_a_last_line_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", GOOD + "\n" + GOOD[:20])
    assert complaints(path) == ["a.jsonl:2 is cut off: the file ends in the middle"]


def test_a_last_line_without_its_end_is_a_row(tmp_path: Path) -> None:
    assert questions(put(tmp_path / "a.jsonl", GOOD + "\n" + GOOD)) == ["q", "q"]


def test_a_huge_line_is_read(tmp_path: Path) -> None:
    long = "word " * 1_000_000
    (example,) = examples(write(tmp_path / "a.jsonl", {"query": long, "response": "a"}))
    assert example.messages[0].content == long


def test_a_line_longer_than_any_row_is_a_bad_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "LONGEST_LINE", 100)
    path = put(tmp_path / "a.jsonl", f"{GOOD}\n{'x' * 350}\n{EMPTY}\n{'x' * 350}")
    lines = complaints(path)
    assert [line.split()[0] for line in lines] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"]
    assert "is longer than" in lines[0]


def test_a_json_file_of_one_object_per_line_is_read(tmp_path: Path) -> None:
    assert questions(put(tmp_path / "a.json", f"{GOOD}\n{GOOD}\n")) == ["q", "q"]


def test_a_byte_order_mark_and_windows_lines_are_read_in_json_and_csv(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert (
        questions(put(tmp_path / "a.json", bom + f"[{GOOD},\r\n{GOOD}]\r\n".encode())) == ["q"] * 2
    )
    assert questions(put(tmp_path / "a.csv", bom + b"query,response\r\nq,a\r\n")) == ["q"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (f"[{GOOD},", ["1 is cut off"]),
        (f"[{GOOD},\n{GOOD[:20]}", ["2 is cut off"]),
        (f"[{GOOD}", ["1 is cut off"]),
        ("[", ["1 is cut off"]),
        (f"[{GOOD}]\n{GOOD}", ["2 follows the end of the array"]),
        (f"[{GOOD}{GOOD}]", ["1 is not followed by a comma; the rest is not read"]),
        (f"[{GOOD},]", ["1 is not JSON: Expecting value at line 1 column "]),
        (f"[\n{GOOD}\n{EMPTY}]", ["2 is not followed by a comma", "3 query is empty"]),
        (f"[\n{GOOD[:-1]},\n{EMPTY}]", ["2 is not JSON", "3 query is empty"]),
        (f"[{GOOD},\n1,\n{EMPTY}]", ["2 should be an object (got number)", "3 query is empty"]),
        ("[" * 200_000, ["1 is nested too deeply"]),
        ('{\n"query": "q"}', ["1 should be a JSON array of objects"]),
        (f"\n\n{GOOD[:-1]}\n", ["3 is cut off"]),
        (r'[{"query": "\ud800", "response": "a"}]', ["1 has a lone surrogate"]),
    ],
)
def test_a_broken_json_array_is_bad_rows(content: str, lines: list[str], tmp_path: Path) -> None:
    problems = complaints(put(tmp_path / "a.json", content))
    assert len(problems) == len(lines)
    for problem, expected in zip(problems, lines, strict=True):
        assert problem.startswith(f"a.json:{expected}")


def test_reading_continues_after_a_broken_element_of_an_indented_array(tmp_path: Path) -> None:
    rows = json.dumps([{"messages": [Q, A]}, {"messages": [Q, A]}, {"messages": [Q]}], indent=2)
    problems = complaints(put(tmp_path / "a.json", rows.replace('"q"', '"q', 1)))
    assert [line.split()[0] for line in problems] == ["a.json:2", "a.json:26"]


def test_an_element_of_an_array_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    content = (
        f"[{GOOD},\n".encode() + b'{"query": "\xff", "response": "a"},\n' + f"{EMPTY}]".encode()
    )
    problems = complaints(put(tmp_path / "a.json", content))
    assert problems == ["a.json:2 is not UTF-8", "a.json:3 query is empty"]


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        examples(put(tmp_path / "a.json", " [ ] \n"))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'query,response\n"a"b,c\nq,\n', ["2 is not csv", "3 response is empty"]),
        (b"query,response\n\xff,a\nq,\n", ["2 is not UTF-8", "3 response is empty"]),
        (b'query,response\nq,a\n"open,\nq,a\n', ["3 is not csv: unexpected end of data"]),
        (b"query,query,response\n1,2,3\n", ["1 the header names query twice"]),
        (b"qu\xffery,response\nq,a\n", ["1 is not UTF-8"]),
        (b'qu"e"\x00,"r"x\nq,a\n', ["1 is not csv"]),
        (b"query,response\nq\n", ["2 should have 2 cells like the header (got 1)"]),
    ],
)
def test_broken_csv_is_bad_rows(content: bytes, lines: list[str], tmp_path: Path) -> None:
    problems = complaints(put(tmp_path / "a.csv", content))
    assert len(problems) == len(lines)
    for problem, expected in zip(problems, lines, strict=True):
        assert problem.startswith(f"a.csv:{expected}")


def test_csv_takes_blank_lines_an_index_column_and_lists_in_json(tmp_path: Path) -> None:
    cell = json.dumps([Q, A]).replace('"', '""')
    path = put(tmp_path / "a.csv", f'\n,messages , history\n\n0,"{cell}",\n')
    (example,) = examples(path)
    assert turns(example) == [("user", "q"), ("assistant", "a")]


def test_a_csv_cell_may_be_long(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "text\n" + "x" * 300_000 + "\n")
    assert len(examples(path, "pt")[0].text or "") == 300_000


def parquet(path: Path, **columns: pyarrow.Array) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet_rows_are_counted_from_one(tmp_path: Path) -> None:
    rows = pyarrow.array(["q"] * 2000 + [""])
    path = parquet(tmp_path / "a.parquet", query=rows, response=pyarrow.array(["a"] * 2001))
    assert complaints(path) == ["a.parquet:2001 query is empty"]


def test_a_parquet_text_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    broken = pyarrow.array([b"good", b"\xff", b""], pyarrow.binary()).view(pyarrow.string())
    problems = complaints(parquet(tmp_path / "a.parquet", text=broken), "pt")
    assert problems == ["a.parquet:2 is not UTF-8", "a.parquet:3 text is empty"]


def test_keys_that_parquet_adds_to_messages_are_not_seen(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    path = parquet(tmp_path / "a.parquet", messages=pyarrow.array([[Q, A], [Q, turn]]))
    plain, calling = examples(path)
    assert [turn.to_dict() for turn in plain.messages] == [Q, A]
    assert calling.messages[1].tool_calls == (call,)


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing"])
def test_a_file_that_is_not_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet: is not parquet"):
        examples(put(tmp_path / "a.parquet", content))


def test_a_parquet_file_with_a_broken_page_is_a_bad_row(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet", text=pyarrow.array([f"{n:06}" * 50 for n in range(3000)])
    )
    content = bytearray(path.read_bytes())
    content[4:600] = b"\xff" * 596
    problems = complaints(put(path, bytes(content)), "pt")
    assert problems[0].startswith("a.parquet:1 cannot be read")


def test_documents_of_a_text_file_have_windows_lines_and_their_first_line(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n  two\r\n \r\n\r\nthree")
    assert [example.text for example in examples(path, "pt")] == ["one\n  two", "three"]
    assert complaints(path)[1].startswith("a.txt:5 text rows are for stage: pt")


def test_a_document_with_bytes_that_are_not_utf8_is_bad(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"one\n\nbefore\n\xff\nafter\n\nthree\n")
    assert complaints(path, "pt") == ["a.txt:4 is not UTF-8 (byte 1)"]


def test_a_document_longer_than_any_is_a_bad_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 10)
    path = put(tmp_path / "a.txt", "short\n\nseven..\nseven..\nmore\n\nshort\n")
    (line,) = complaints(path, "pt")
    assert line.startswith("a.txt:3 is longer than")
