"""Every row format loads; a bad row is reported with its line and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loaded_examples import load_examples
from row_files import A, Q, examples, source, turns, write

from swiftbox.data.check import check_rows
from swiftbox.data.example import Example
from swiftbox.data.files import dataset_hash
from swiftbox.data.source import parse_sources
from swiftbox.errors import DataError

GOOD = {
    "messages": (
        {"messages": [{"role": "system", "content": "s"}, Q, A]},
        [("system", "s"), ("user", "q"), ("assistant", "a")],
    ),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            "system": "s",
        },
        [("system", "s"), ("user", "q"), ("assistant", "a")],
    ),
    "alpaca": (
        {"instruction": "i", "input": "x", "output": "a", "system": "s", "history": [["h", "r"]]},
        [("system", "s"), ("user", "h"), ("assistant", "r"), ("user", "i\nx"), ("assistant", "a")],
    ),
    "alpaca without input": (
        {"instruction": "i", "input": "", "output": "a"},
        [("user", "i"), ("assistant", "a")],
    ),
    "query": (
        {"query": "q", "response": "a", "history": [["h", "r"]]},
        [("user", "h"), ("assistant", "r"), ("user", "q"), ("assistant", "a")],
    ),
    "question and answer": (
        {"question": "q", "answer": "a"},
        [("user", "q"), ("assistant", "a")],
    ),
    "prompt and completion": (
        {"prompt": "q", "completion": "a"},
        [("user", "q"), ("assistant", "a")],
    ),
    "null system, extra column": (
        {"query": "q", "response": "a", "system": None, "id": 7},
        [("user", "q"), ("assistant", "a")],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_chat_format_loads(name: str, tmp_path: Path) -> None:
    row, expected = GOOD[name]
    (example,) = examples(write(tmp_path / "a.jsonl", row))
    assert turns(example) == expected


def test_text_rows_load_for_pretraining(tmp_path: Path) -> None:
    assert examples(write(tmp_path / "a.jsonl", {"text": "raw"}), "pt") == [Example(text="raw")]


def test_tools_and_tool_calls_are_kept_as_openai_writes_them(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    row = {
        "messages": [
            Q,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "1"},
            A,
        ],
        "tools": [tool],
    }
    (example,) = examples(write(tmp_path / "a.jsonl", row))
    assert example.tools == (tool,)
    assert example.messages[1].tool_calls == (call,)


BAD = {
    "not json": ("{bad", "is not JSON"),
    "cut off": ('{"messages": [', "is not JSON"),
    "not an object": ("[1]", "should be an object (got list)"),
    "not a number": ('{"query": NaN, "response": "a"}', "NaN is not a JSON value"),
    "unknown role": (
        {"messages": [{"role": "nobody", "content": "x"}, A]},
        "message 1: role should be",
    ),
    "unknown speaker": (
        {"conversations": [{"from": "x", "value": "q"}]},
        "message 1: from should be",
    ),
    "content no text": (
        {"messages": [{"role": "user", "content": 3}, A]},
        "message 1: content should be text",
    ),
    "no answer at all": ({"messages": [Q]}, "has no assistant turn"),
    "empty answer": (
        {"messages": [Q, {"role": "assistant", "content": " "}]},
        "the answer is empty",
    ),
    "no messages": ({"messages": []}, "has no messages"),
    "messages no list": ({"messages": "q"}, "messages should be a list"),
    "a result that nobody called for": (
        {"messages": [Q, {"role": "tool", "content": "1"}, A]},
        "a tool result without a preceding tool call",
    ),
    "only an answer": ({"messages": [A]}, "has no user turn"),
    "empty output": ({"instruction": "i", "output": ""}, "output is empty"),
    "output no text": ({"instruction": "i", "output": 5}, "output should be text (got number)"),
    "bad history": (
        {"query": "q", "response": "a", "history": [["x"]]},
        "history 1 should be a pair",
    ),
    "unknown columns": ({"mesages": [Q, A]}, "columns: {mesages: messages} renames one"),
    "text under sft": ({"text": "raw"}, "text rows are for stage: pt, not sft"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_row_is_reported_with_its_line_and_reason(name: str, tmp_path: Path) -> None:
    row, reason = BAD[name]
    path = write(tmp_path / "a.jsonl", {"messages": [Q, A]}, row)
    with pytest.raises(DataError) as caught:
        examples(path)
    first, last = caught.value.message.splitlines()
    assert first.startswith("a.jsonl:2 ")
    assert reason in first
    assert last == "1 of 2 rows is bad (1 kind)"


def test_chat_rows_under_pretraining_name_the_right_stage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": [Q, A]})
    with pytest.raises(DataError, match="are for stage: sft or gkd, not pt"):
        examples(path, "pt")


def twenty_bad_of_forty(path: Path) -> list[int]:
    names = [
        "not json",
        "unknown role",
        "empty answer",
        "no messages",
        "unknown columns",
        "a result that nobody called for",
    ]
    kinds = [BAD[name][0] for name in names]
    rows = [kinds[number // 2 % 6] if number % 2 else {"messages": [Q, A]} for number in range(40)]
    write(path, *rows)
    return [number + 1 for number in range(40) if number % 2]


def test_twenty_bad_rows_of_six_kinds_are_one_report(tmp_path: Path) -> None:
    lines = twenty_bad_of_forty(tmp_path / "a.jsonl")
    with pytest.raises(DataError) as caught:
        check_rows(source(tmp_path / "a.jsonl"), stage="sft", max_bad_rows=0)
    *reported, summary = caught.value.message.splitlines()
    assert [int(line.split(":")[1].split()[0]) for line in reported] == lines
    assert summary == "20 of 40 rows are bad (6 kinds)"
    assert "max_bad_rows=20" in caught.value.hint


def test_bad_rows_within_the_limit_are_skipped_and_counted(tmp_path: Path) -> None:
    twenty_bad_of_forty(tmp_path / "a.jsonl")
    checked = check_rows(source(tmp_path / "a.jsonl"), stage="sft", max_bad_rows=20)
    assert (checked.rows, len(checked.bad)) == (20, 20)
    assert "20 bad rows skipped" in checked.summary()


def test_bytes_that_are_not_utf8_are_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"query": "\xff", "response": "a"}\n'
        + json.dumps({"query": "q", "response": "a"}).encode()
    )
    with pytest.raises(DataError, match=r"a\.jsonl:1 is not UTF-8"):
        examples(path)


def test_the_column_of_a_json_mistake_is_counted_in_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"query": "q" "response": "a"}')
    with pytest.raises(DataError, match="at column 15"):
        examples(path)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + b'{"query": "q", "response": "a"}\r\n\r\n{"query": "r", "response": "b"}\r\n'
    )
    assert [turns(example)[0][1] for example in examples(path)] == ["q", "r"]


def test_a_json_array_counts_the_lines_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '[\n  {"query": "q", "response": "a"},\n\n  {"query": "", "response": "a"}\n]', "utf-8"
    )
    with pytest.raises(DataError, match=r"a\.json:4 query is empty"):
        examples(path)


def test_csv_rows_have_lines_and_may_span_several(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('query,response\n"two\nlines",a\nq,\nq,a,x\n', "utf-8")
    with pytest.raises(DataError) as caught:
        examples(path)
    assert caught.value.message.splitlines()[:2] == [
        "a.csv:4 response is empty",
        "a.csv:5 should have 2 cells like the header (got 3)",
    ]


def test_parquet_rows_load(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"messages": [[Q, A]]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (example,) = examples(tmp_path / "a.parquet")
    assert turns(example) == [("user", "q"), ("assistant", "a")]


def test_a_text_file_holds_documents_between_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n\nthree\n", "utf-8")
    assert [example.text for example in examples(path, "pt")] == ["one\ntwo", "three"]


def test_a_folder_gives_all_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", {"query": name, "response": "x"})
    assert [turns(example)[0][1] for example in examples(tmp_path)] == ["a", "b"]


def test_the_training_split_of_a_hub_folder_is_read(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        write(tmp_path / f"{name}.jsonl", {"query": name, "response": "x"})
    assert [turns(example)[0][1] for example in examples(tmp_path)] == ["train-00000-of-00001"]
    chosen = parse_sources([{"path": str(tmp_path), "split": "test"}], columns={})
    loaded = load_examples(chosen, stage="sft", max_bad_rows=0, seed=0).examples
    assert [turns(example)[0][1] for example in loaded] == ["test-00000-of-00001"]


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"query": "q", "response": "x"})
    chosen = parse_sources([{"path": str(tmp_path), "split": "dev"}], columns={})
    with pytest.raises(DataError, match="no file of dev"):
        check_rows(chosen, stage="sft", max_bad_rows=0)


def test_a_number_of_rows_is_a_seeded_sample_in_file_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({"query": f"{n:03}", "response": "x"} for n in range(100)))
    chosen = parse_sources([f"{path}#10"], columns={})
    first, second, other = (
        [
            turns(example)[0][1]
            for example in load_examples(chosen, stage="sft", max_bad_rows=0, seed=seed).examples
        ]
        for seed in (1, 1, 2)
    )
    assert first == second == sorted(first)
    assert len(first) == 10
    assert first != other


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"ask": "q", "say": "a"})
    (example,) = examples(path, ask="query", say="response")
    assert turns(example) == [("user", "q"), ("assistant", "a")]


def test_dataset_info_next_to_the_file_is_used(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"ask": "q", "say": "a"})
    info = {"mine": {"file_name": "a.jsonl", "columns": {"prompt": "ask", "response": "say"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    for name in ("a.jsonl", "mine"):
        (example,) = examples(tmp_path / name)
        assert turns(example) == [("user", "q"), ("assistant", "a")]


def test_an_empty_file_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("", "utf-8")
    with pytest.raises(DataError, match="there are no rows"):
        examples(tmp_path / "a.jsonl")
    (tmp_path / "a.rows").write_text("", "utf-8")
    with pytest.raises(DataError, match=r"should be one of \.jsonl"):
        examples(tmp_path / "a.rows")


def test_reasons_are_in_chinese_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    path = write(tmp_path / "a.jsonl", {"messages": [Q]})
    with pytest.raises(DataError, match=r"a\.jsonl:1 没有可学习的 assistant 轮次"):
        examples(path)


def test_exact_duplicates_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[{"query": "q", "response": "a"}] * 3)
    assert check_rows(source(path), stage="sft", max_bad_rows=0).duplicates == 2


def test_the_hash_follows_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"query": "q", "response": "a"})
    before = dataset_hash(source(path))
    assert dataset_hash(source(path)) == before
    write(path, {"query": "q", "response": "b"})
    assert dataset_hash(source(path)) != before
