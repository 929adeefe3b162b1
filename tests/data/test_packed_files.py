"""Packed files are unpacked as they are read, within bounds; what holds no rows is named."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow
import pytest
from row_files import complaints, examples, questions, source

from swiftbox.data import compression
from swiftbox.data.check import check_rows
from swiftbox.errors import DataError

ROWS = [{"query": f"q{number}", "response": "a"} for number in range(3)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def packed(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(packed(content, path.suffix) if path.suffix in (".gz", ".zst") else content)
    return path


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.csv", b"query,response\nq0,a\nq1,a\nq2,a\n"),
        ("a.tsv", b"query\tresponse\nq0,0\ta\nq1\ta\nq2\ta\n"),
    ],
)
def test_rows_in_a_packed_file_are_read(
    name: str, content: bytes, suffix: str, tmp_path: Path
) -> None:
    path = put(tmp_path / f"{name}{suffix}", content)
    assert len(questions(path)) == 3
    summary = check_rows(source(path), stage="sft", max_bad_rows=0).summary()
    assert f"unpacked from {'gzip' if suffix == '.gz' else 'zstd'}" in summary


def test_packed_gb18030_in_a_folder_is_read_with_its_lines(tmp_path: Path) -> None:
    content = (
        '{"query": "这是什么？", "response": "这是我的书。"}\n{"query": "", "response": "好"}\n'
    )
    put(tmp_path / "train.jsonl.gz", content.encode("gb18030"))
    put(tmp_path / "test.jsonl.gz", b"{}")
    assert complaints(tmp_path) == ["train.jsonl.gz:2 query is empty"]


def test_the_content_tells_how_a_file_is_packed_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(JSONL))
    (tmp_path / "b.jsonl.gz").write_bytes(JSONL)
    assert len(questions(tmp_path / "a.jsonl")) == len(questions(tmp_path / "b.jsonl.gz")) == 3


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    path = put(tmp_path / f"a.jsonl{suffix}", JSONL * 1000)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be unpacked as"):
        examples(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_unpacks_without_bounds_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "ALWAYS_ALLOWED_BYTES", 2**20)
    path = put(tmp_path / f"a.json{suffix}", b" " * 2**24)
    with pytest.raises(DataError, match="unpacks to more than"):
        examples(path)


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return content.getvalue()


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        target.writestr("rows.jsonl", JSONL)
    return content.getvalue()


FOREIGN = {
    "page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page", "raw file"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "a pointer of git-lfs",
        "git lfs pull",
    ),
    "workbook": (workbook(), "an Excel workbook", "csv"),
    "archive": (archive(), "an archive", "unpack it"),
    "parquet": (b"PAR1\x15\x04", "is parquet", "rename it"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_file_that_holds_no_rows_is_named_with_its_cure(
    name: str, suffix: str, tmp_path: Path
) -> None:
    content, kind, cure = FOREIGN[name]
    if (name, suffix) == ("parquet", ".parquet"):
        pytest.skip("it is")
    path = put(tmp_path / f"a{suffix}", content)
    with pytest.raises(DataError, match=kind) as caught:
        examples(path)
    assert cure in caught.value.hint


def test_a_workbook_is_known_by_its_name_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an Excel workbook"):
        examples(put(tmp_path / "a.xlsx", workbook()))


def test_a_page_is_a_document_of_a_text_file(tmp_path: Path) -> None:
    assert len(examples(put(tmp_path / "a.txt", b"<html>text</html>"), "pt")) == 1
