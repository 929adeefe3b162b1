"""Files that are not UTF-8: read where it is certain what they are, refused otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from row_files import complaints, examples, questions, source

from swiftbox.data import encodings
from swiftbox.data.check import check_rows
from swiftbox.errors import DataError

CHINESE = [
    {"instruction": "法国的首都是哪里？", "output": "法国的首都是巴黎。"},
    {"instruction": "写一句关于春天的诗", "output": "春天来了，花都开了。"},
    {"instruction": "𠮷字怎么读？", "output": "这个字读作“吉”。"},
]


def lines(rows: list[dict[str, str]] = CHINESE) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)


def summary(path: Path) -> str:
    return check_rows(source(path), stage="sft", max_bad_rows=0).summary()


@pytest.mark.parametrize(
    ("encoding", "label"),
    [
        ("gb18030", "GB18030"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-8-sig", "UTF-8 with a byte order mark"),
    ],
)
def test_chinese_rows_are_read_and_the_summary_names_their_encoding(
    encoding: str, label: str, tmp_path: Path
) -> None:
    content = lines([{"k": "v" * 40, **row} for row in CHINESE])
    path = tmp_path / "a.jsonl"
    path.write_bytes(content.encode(encoding))
    assert questions(path) == [row["instruction"] for row in CHINESE]
    assert f"a.jsonl: read as {label}" in summary(path)


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_decides_however_few_letters_are_ascii(
    mark: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    path.write_bytes(
        mark + "query,response\n问题问题问题问题,回答回答回答回答回答\n".encode(encoding)
    )
    assert questions(path) == ["问题问题问题问题"]


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.txt"])
def test_every_kind_of_text_file_is_read_in_gb18030(name: str, tmp_path: Path) -> None:
    content = {
        "a.json": json.dumps(CHINESE, ensure_ascii=False, indent=1),
        "a.csv": "instruction,output\n" + "".join(",".join(row.values()) + "\n" for row in CHINESE),
        "a.txt": "\n\n".join(row["output"] for row in CHINESE),
    }[name]
    path = tmp_path / name
    path.write_bytes(content.encode("gb18030"))
    stage = "pt" if name == "a.txt" else "sft"
    assert len(examples(path, stage)) == len(CHINESE)


def test_lines_keep_their_numbers_in_every_encoding(tmp_path: Path) -> None:
    content = lines([*CHINESE, {"instruction": "", "output": "这是空的问题"}])
    for encoding in ("gb18030", "utf-16"):
        path = tmp_path / "a.jsonl"
        path.write_bytes(content.encode(encoding))
        assert [line.split()[0] for line in complaints(path)] == ["a.jsonl:4"]


OTHERS = {
    "latin-1": "Où est née la reine? Elle est née à Orléans, près de là.",
    "cp1252": "“Smart” – das heißt für uns: größer, schöner, älter.",
    "big5": "法國的首都是巴黎，這個問題很簡單，我們可以來學習說話的方法。",
    "shift_jis": "日本の首都は東京です。これは簡単な質問ですね。",
    "euc_jp": "日本の首都は東京です。これは簡単な質問ですね。",
    "euc_kr": "프랑스의 수도는 어디입니까? 수도는 파리입니다. 이것은 쉬운 질문입니다.",
    "cp1251": "Столица Франции - это Париж, и это очень простой вопрос.",
    "koi8_r": "Столица Франции - это Париж, и это очень простой вопрос.",
}


@pytest.mark.parametrize("encoding", OTHERS)
def test_another_encoding_is_refused_rather_than_taken_for_gb18030(
    encoding: str, tmp_path: Path
) -> None:
    row = {"query": OTHERS[encoding], "response": OTHERS[encoding]}
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([row] * 3).encode(encoding))
    assert all("is not UTF-8" in line for line in complaints(path))


def test_utf8_with_broken_lines_stays_utf8(tmp_path: Path) -> None:
    good = lines().encode()
    broken = good + "{'一个错误的行'}\n".encode() + b'{"query": "\xd6\xd0\xce\xc4"}\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(broken)
    assert [line.split()[0] for line in complaints(path)] == ["a.jsonl:4", "a.jsonl:5"]


def test_gb18030_with_a_broken_line_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines().encode("gb18030") + b'{"query": "\xff\xff"}\n')
    assert [line.split()[0] for line in complaints(path)] == [f"a.jsonl:{n}" for n in (1, 2, 3, 4)]


def test_letters_beyond_the_first_block_decide_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "BLOCK_BYTES", 64)
    english = [{"instruction": f"question {number}", "output": "answer"} for number in range(50)]
    for encoding in ("gb18030", "utf-8"):
        path = tmp_path / f"{encoding}.jsonl"
        path.write_bytes(lines([*english, *CHINESE]).encode(encoding))
        assert questions(path)[-3:] == [row["instruction"] for row in CHINESE]


@pytest.mark.parametrize("end", [b"\x00\xd8{\x00", b"{"])
def test_a_file_that_is_utf16_only_at_its_start_is_refused(end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines().encode("utf-16") + end)
    with pytest.raises(DataError, match="is not UTF-16 to its end"):
        examples(path)


def test_a_zero_byte_does_not_make_a_file_utf16(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"query": "q\x00", "response": "a"}\n')
    assert "is not JSON" in complaints(path)[0]


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for encoding in ("gb18030", "utf-8", "utf-16"):
        path.write_bytes(lines().encode(encoding))
        assert len(questions(path)) == len(CHINESE)
