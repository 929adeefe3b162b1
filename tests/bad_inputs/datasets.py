"""Datasets that cannot be trained on: special files, broken rows, wrong columns and counts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from bad_inputs.case import BadInput, MakeFile, with_line

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
LINE = json.dumps(ROW) + "\n"

ROWS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "no rows"),
    "blank-lines": ("\n\n  \n", "no rows"),
    "null": ("null\n", "object"),
    "number": ("1\n", "object"),
    "list": ("[1]\n", "object"),
    "text": ('"a"\n', "object"),
    "no-json": ("hello\n", "JSON"),
    "yaml": ("messages: []\n", "JSON"),
    "cut-off": (LINE + '{"messages": [', "cut off"),
    "two-objects-in-a-line": (LINE.strip() + LINE, "JSON"),
    "nan": ('{"prompt": NaN, "response": "a"}\n', "NaN"),
    "infinity": ('{"prompt": "q", "response": Infinity}\n', "Infinity"),
    "single-quotes": ("{'prompt': 'q'}\n", "JSON"),
    "trailing-comma": ('{"prompt": "q", "response": "a",}\n', "JSON"),
    "comment": ("// rows\n" + LINE, "JSON"),
    "deep": ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}\n", ""),
    "long-number": ('{"prompt": ' + "9" * 5000 + "}\n", ""),
    "empty-object": ("{}\n", ""),
    "unknown-columns": ('{"a": 1, "b": 2}\n', "no known format"),
    "misspelt-column": ('{"mesages": []}\n', "messages"),
    "null-prompt": ('{"prompt": null, "response": "a"}\n', ""),
    "number-as-answer": ('{"prompt": "q", "response": 7}\n', ""),
    "list-as-prompt": ('{"prompt": [1], "response": "a"}\n', ""),
    "empty-answer": ('{"prompt": "q", "response": ""}\n', ""),
    "no-messages": ('{"messages": []}\n', ""),
    "messages-of-texts": ('{"messages": ["q", ""]}\n', ""),
    "messages-object": ('{"messages": {"role": "user", "content": "q"}}\n', ""),
    "unknown-role": ('{"messages": [{"role": "boss", "content": "q"}]}\n', ""),
    "no-content": ('{"messages": [{"role": "user"}]}\n', ""),
    "only-a-user": ('{"messages": [{"role": "user", "content": "q"}]}\n', ""),
    "role-is-a-list": ('{"messages": [{"role": ["user"], "content": "q"}]}\n', ""),
    "lone-surrogate": ('{"prompt": "\\ud800", "response": "a"}\n', "surrogate"),
    "preferences-for-sft": ('{"prompt": "q", "chosen": "a", "rejected": "b"}\n', ""),
    "latin-1": (b'{"prompt": "caf\xe9", "response": "a"}\n', "UTF-8"),
    "utf-16-cut-off": (LINE.encode("utf-16")[:-1], "UTF-16 to its end"),
    "utf-32": (LINE.encode("utf-32"), "UTF-16 to its end"),
    "zeros": (b"\0" * 1000, "JSON"),
    "binary": (bytes(range(256)), "UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00", "unpacked as gzip"),
    "html": ("<!doctype html><html></html>\n", "web page"),
    "lfs-pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n",
        "git-lfs",
    ),
}
"""Content of rows.jsonl, and a part of the answer."""

FILES: dict[str, tuple[str, str | bytes, str]] = {
    "json-number": ("d.json", "7", "array"),
    "json-cut-off": ("d.json", '[{"prompt": "q"', "cut off"),
    "json-empty-array": ("d.json", "[]", "no rows"),
    "json-object": ("d.json", '{"data": []}', ""),
    "json-deep": ("d.json", "[" * 100_000, ""),
    "json-of-numbers": ("d.json", "[1, 2]", "object"),
    "csv-empty": ("d.csv", "", "no rows"),
    "csv-only-a-header": ("d.csv", "prompt,response\n", "no rows"),
    "csv-repeated-header": ("d.csv", "prompt,prompt\nq,a\n", "twice"),
    "csv-short-row": ("d.csv", "prompt,response\nq\n", "2 cells"),
    "csv-open-quote": ("d.csv", 'prompt,response\n"q,a\n', ""),
    "parquet-empty": ("d.parquet", b"", "is not parquet"),
    "parquet-text": ("d.parquet", b"hello", "is not parquet"),
    "parquet-mark-only": ("d.parquet", b"PAR1\0\0\0\0PAR1", "is not parquet"),
    "txt-for-sft": ("d.txt", "a text\n", ""),
    "xlsx": ("d.xlsx", b"PK\x03\x04", "an Excel workbook"),
    "no-suffix": ("data", LINE, "unknown file type"),
    "gz": ("d.jsonl.gz", b"\x1f\x8b", "unpacked as gzip"),
    "zst": ("d.jsonl.zst", b"\x28\xb5\x2f\xfd", "unpacked as zstd"),
    "zip": ("d.zip", b"PK\x03\x04", "an archive"),
    "csv-two-separators": ("d.csv", "prompt,x;response\nq,x;a\n", "separated by"),
}
"""A dataset of another type: its name, its content, a part of the answer."""

NAMES: dict[str, str] = {
    "nowhere.jsonl": "no file",
    "rows.jsonl#0": "number of rows",
    "rows.jsonl#-1": "number of rows",
    "rows.jsonl#many": "number of rows",
    "rows.jsonl#1.5": "number of rows",
    "rows.jsonl#1e3": "number of rows",
    "rows.jsonl#": "number of rows",
    "'#5'": "no path",
    "rows.jsonl#99999999999999999999": "number of rows",
    "rows.jsonl#" + "9" * 220: "number of rows",
    "rows.jsonl#５": "number of rows",
    "m": "",
    ".": "",
    "/": "",
    "rows.jsonl/x": "",
    "/dev/zero": "not a regular file",
    "/dev/null": "not a regular file",
    "~nobody-of-this-name/a.jsonl": "not the home",
    "http://127.0.0.1:9/a.jsonl": "",
    "'${train.rows}'": "pipeline",
    "'*.jsonl'": "no file",
}
"""Values of `dataset`."""

COLUMNS: dict[str, tuple[str, str]] = {
    "absent": ("{nothing: prompt}", "no row of"),
    "unknown-name": ("{messages: talk}", "no format has a column talk"),
    "swapped": ("{prompt: q}", "no format has a column q"),
    "list": ("[a, b]", "list or mapping"),
    "text": ("prompt", "list or mapping"),
    "true": ("true", "list or mapping"),
    "null-name": ("{messages: null}", "text"),
    "number-name": ("{messages: 1}", "text"),
    "empty-name": ("{messages: ''}", "should not be empty"),
}

VALIDATION: dict[str, str] = {
    "nowhere.jsonl": "val_dataset: no file nowhere.jsonl",
    "rows.jsonl#0": "val_dataset",
    "7": "val_dataset",
    "{path: rows.jsonl, splitt: a}": "splitt",
    "'[{path: rows.jsonl, split: a+b}]'": "val_dataset",
}
"""Values of `val_dataset`."""

SPECIAL: dict[str, MakeFile] = {
    "fifo": os.mkfifo,
    "link-to-zero": lambda path: path.symlink_to("/dev/zero"),
    "link-to-itself": lambda path: path.symlink_to(path.name),
    "link-to-nothing": lambda path: path.symlink_to("nowhere"),
}


def _fifo_in_folder(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "a.jsonl")


def cases() -> Iterator[BadInput]:
    """Yield the cases of the group."""
    for name, (content, expected) in ROWS.items():
        yield BadInput(f"rows-{name}", files={"rows.jsonl": content}, expected=expected)
    for name, (file, content, expected) in FILES.items():
        files = {**with_line("", dataset=file), file: content}
        yield BadInput(f"file-{name}", files=files, expected=expected)
    for value, expected in NAMES.items():
        files = with_line("", dataset=value)
        yield BadInput(f"named-{value[:40]}", files=files, expected=expected)
    for name, (value, expected) in COLUMNS.items():
        yield BadInput(f"columns-{name}", files=with_line(f"columns: {value}"), expected=expected)
    for name, make in SPECIAL.items():
        yield BadInput(f"special-{name}", files={"rows.jsonl": make}, in_child=True)
    folder = {**with_line("", dataset="d"), "d": _fifo_in_folder}
    yield BadInput("folder-with-a-fifo", files=folder, expected="no data files", in_child=True)
    yield from _registries()
    for value, expected in VALIDATION.items():
        files = with_line(f"val_dataset: {value}")
        yield BadInput(f"validation-{value[:40]}", files=files, expected=expected)
    yield BadInput(
        "more-rows-than-there-are",
        files=with_line("", dataset="rows.jsonl#9999999"),
        expected="fewer rows than requested in rows.jsonl#9999999",
        code=0,
    )


def _registries() -> Iterator[BadInput]:
    registries: dict[str, tuple[str | bytes | MakeFile, str]] = {
        "broken": ("{", "dataset_info.json"),
        "not-utf-8": (b'{"a": "\xff"}', "dataset_info.json"),
        "deep": ("[" * 100_000, "dataset_info.json"),
    }
    for name, (content, expected) in registries.items():
        yield BadInput(f"registry-{name}", files={"dataset_info.json": content}, expected=expected)
