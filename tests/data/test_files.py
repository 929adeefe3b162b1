"""Which files and rows a dataset names: folders, splits, numbers of rows, dataset_info.json."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from loaded_examples import load_examples
from row_files import A, Q, complaints, examples, questions, source, turns, write

from swiftbox.data.check import check_rows
from swiftbox.data.example import Example
from swiftbox.data.files import dataset_hash
from swiftbox.data.sampling import sampling_of
from swiftbox.data.source import RowSource, parse_sources, resolve
from swiftbox.errors import DataError


def row(question: str = "q") -> dict[str, str]:
    return {"query": question, "response": "a"}


def numbered(path: Path, count: int) -> Path:
    return write(path, *(row(f"{number:03}") for number in range(count)))


def test_a_dataset_is_a_path_an_id_or_either_with_a_number_of_rows() -> None:
    named = ["a.jsonl", "owner/name", "owner/name#500", {"path": "a", "num_samples": 3}]
    sources = parse_sources(named, columns={})
    assert [(source.path, source.num_samples) for source in sources] == [
        ("a.jsonl", None),
        ("owner/name", None),
        ("owner/name", 500),
        ("a", 3),
    ]


def test_the_columns_of_one_dataset_win_over_those_of_all() -> None:
    named: list[Any] = [{"path": "a", "columns": {"x": "query"}, "subset": "s", "split": "t"}]
    (source,) = parse_sources(named, columns={"x": "prompt", "y": "response"})
    assert source == RowSource("a", "s", "t", None, (("x", "query"), ("y", "response")))


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("a#", "# should be followed by a number of rows"),
        ("a#0", "got 0"),
        ("a#x", "got x"),
        ("a#\u00b2", "got \u00b2"),
        (
            {"path": "a", "num_samples": 0},
            "num_samples should be followed by a number of rows (got 0)",
        ),
        ({"path": "a", "num_samples": -1}, "got -1"),
        ({"path": "a#5", "num_samples": 6}, "# gives 5 rows, num_samples gives 6"),
        ("", "has no path"),
        ({"split": "train"}, "has no path"),
        ("#5", "has no path"),
    ],
)
def test_an_invalid_number_of_rows_is_refused(named: Any, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_sources([named], columns={})
    assert reason in caught.value.message


def test_a_file_whose_name_holds_a_number_sign_is_that_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a#1.jsonl", row())
    assert source(path)[0].path == str(path)


def test_a_fetched_source_keeps_its_settings(tmp_path: Path) -> None:
    (source,) = parse_sources(["owner/name#5"], columns={"x": "query"})
    assert resolve(source, tmp_path) == RowSource(str(tmp_path), None, None, 5, (("x", "query"),))


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        examples(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="no data files"):
        examples(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row())
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        examples(path)


def test_an_empty_file_among_others_is_named(tmp_path: Path) -> None:
    good, empty = write(tmp_path / "a.jsonl", row()), tmp_path / "b.jsonl"
    empty.write_bytes(b"\n\n")
    with pytest.raises(DataError, match=r"b\.jsonl: there are no rows"):
        check_rows([*source(good), *source(empty)], stage="sft", max_bad_rows=0)


def test_a_file_with_only_bad_rows_is_refused_whatever_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "{bad", "{bad")
    with pytest.raises(DataError, match=r"all of 2 rows are bad: a\.jsonl:1 is not JSON"):
        check_rows(source(path), stage="sft", max_bad_rows=5)
    path = write(tmp_path / "b.jsonl", "{bad")
    with pytest.raises(DataError, match=r"dataset: the only row is bad: b\.jsonl:1 is not JSON"):
        check_rows(source(path), stage="sft", max_bad_rows=5)
    with pytest.raises(DataError, match=r"1 of 1 row is bad \(1 kind\)"):
        check_rows(source(path), stage="sft", max_bad_rows=0)


def test_a_report_of_a_folder_names_the_place_of_the_file_in_it(tmp_path: Path) -> None:
    write(tmp_path / "en" / "a.jsonl", row(""))
    write(tmp_path / "zh" / "a.jsonl", row(""))
    assert complaints(tmp_path) == [
        "en/a.jsonl:1 query is empty",
        "zh/a.jsonl:1 query is empty",
    ]


def test_metadata_and_hidden_files_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row())
    for name in ("dataset_infos.json", ".cache/b.jsonl", "README.md"):
        write(tmp_path / name, "{}")
    assert questions(tmp_path) == ["q"]


def test_files_of_other_splits_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("train", "mine", "validation", "data/test-00000-of-00001"):
        write(tmp_path / f"{name}.jsonl", row(name))
    checked = load_examples(source(tmp_path), stage="sft", max_bad_rows=0, seed=0)
    assert [example.messages[0].content for example in checked.examples] == ["mine", "train"]
    assert checked.left_out == ["data/test-00000-of-00001.jsonl", "validation.jsonl"]
    assert "not read (another split): data/test" in checked.summary()


def test_a_folder_with_only_a_test_split_is_read(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", row("t"))
    assert questions(tmp_path) == ["t"]


def test_the_folders_above_a_dataset_do_not_choose_its_split(tmp_path: Path) -> None:
    root = tmp_path / "test"
    write(root / "a.jsonl", row("a"))
    write(root / "en" / "b.jsonl", row("b"))
    assert questions(root) == ["a", "b"]
    (chosen,) = parse_sources([{"path": str(root), "subset": "en"}], columns={})
    checked = load_examples([chosen], stage="sft", max_bad_rows=0, seed=0)
    assert checked.origins == [("en/b.jsonl", 1)]


def test_examples_come_with_the_file_and_line_they_come_from(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row("0"), "{bad", "", row("1"))
    checked = load_examples(source(path), stage="sft", max_bad_rows=1, seed=0)
    assert checked.origins == [("a.jsonl", 1), ("a.jsonl", 4)]
    assert (checked.rows, checked.taken, len(checked.bad)) == (2, 2, 1)


def test_a_sample_counts_its_rows_and_checks_every_row(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.jsonl", 100)
    (chosen,) = parse_sources([f"{path}#10"], columns={})
    checked = check_rows([chosen], stage="sft", max_bad_rows=0)
    assert (checked.rows, checked.taken) == (100, 10)
    assert checked.summary() == "rows: 100 (100 query-response), 10 taken"
    sampled = load_examples([chosen], stage="sft", max_bad_rows=0, seed=3)
    assert [f"{line - 1:03}" for _, line in sampled.origins] == [
        example.messages[0].content for example in sampled.examples
    ]


def test_more_rows_than_exist_gives_all_of_them(tmp_path: Path) -> None:
    (chosen,) = parse_sources([f"{numbered(tmp_path / 'a.jsonl', 3)}#10"], columns={})
    checked = load_examples([chosen], stage="sft", max_bad_rows=0, seed=0)
    assert (checked.rows, checked.taken, len(checked.examples)) == (3, 3, 3)


def test_every_row_is_as_likely_in_a_sample() -> None:
    drawn = [0] * 10
    for seed in range(2000):
        picked = list(sampling_of(RowSource("a", num_samples=3), 10, seed).choices(0))
        assert sum(picked) == 3
        for number, taken in enumerate(picked):
            drawn[number] += taken
    assert all(500 < count < 700 for count in drawn)  # 600 expected, 20 standard deviation


def test_rows_that_differ_in_their_tool_calls_are_not_duplicates(tmp_path: Path) -> None:
    def calling(name: str) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": name, "arguments": "{}"}}
        return {"messages": [Q, {"role": "assistant", "content": "", "tool_calls": [call]}]}

    path = write(tmp_path / "a.jsonl", calling("f"), calling("g"), calling("f"))
    checked = check_rows(source(path), stage="sft", max_bad_rows=0)
    assert checked.duplicates == 1
    assert checked.summary().endswith("1 exact duplicate")


def test_the_same_row_in_two_formats_is_a_duplicate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(), {"messages": [Q, A]})
    checked = check_rows(source(path), stage="sft", max_bad_rows=0)
    assert checked.formats == {"query-response": 1, "messages": 1}
    assert checked.duplicates == 1


def test_of_many_bad_rows_two_hundred_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *["{" + " " * number + "bad" for number in range(250)])
    lines = complaints(path)
    assert len(lines) == 201
    assert lines[-1] == "and 50 more"


def test_of_rows_with_one_reason_the_first_is_listed_with_the_lines_of_the_others(
    tmp_path: Path,
) -> None:
    good, bad = row(), {"query": "q", "response": ""}
    path = write(tmp_path / "a.jsonl", good, bad, good, *[bad] * 5, good, "{bad")
    assert complaints(path) == [
        "a.jsonl:2 response is empty",
        "  and 5 more rows with this reason: lines 4-8",
        "a.jsonl:10 is not JSON: Expecting property name enclosed in double quotes at column 2",
    ]


def test_the_hash_of_one_file_is_its_sha256_and_leaves_out_other_splits(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", row())
    expected = hashlib.sha256(train.read_bytes()).hexdigest()
    write(tmp_path / "test.jsonl", row("other"))
    assert dataset_hash(source(train)) == dataset_hash(source(tmp_path)) == expected


def info(folder: Path, **entries: Any) -> None:
    write(folder / "dataset_info.json", json.dumps(entries))


THEIRS = {
    "file_name": "chat.jsonl",
    "formatting": "sharegpt",
    "columns": {"messages": "dialog", "system": "rules"},
    "tags": {
        "role_tag": "who",
        "content_tag": "words",
        "user_tag": "asker",
        "assistant_tag": "bot",
        "function_tag": "caller",
        "observation_tag": "result",
    },
}


def dialog(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"dialog": [{"who": who, "words": content} for who, content in turns], "rules": "s"}


def test_columns_and_tags_of_dataset_info_are_used(tmp_path: Path) -> None:
    call = '{"name": "f", "arguments": {}}'
    row = dialog(("asker", "q"), ("caller", call), ("result", "1"), ("bot", "a"))
    write(tmp_path / "chat.jsonl", row)
    info(tmp_path, mine=THEIRS)
    for named in (tmp_path / "chat.jsonl", tmp_path / "mine", tmp_path):
        (example,) = examples(named)
        assert turns(example) == [
            ("system", "s"),
            ("user", "q"),
            ("assistant", ""),
            ("tool", "1"),
            ("assistant", "a"),
        ]
        assert example.messages[2].tool_calls


@pytest.mark.parametrize(
    "broken", ["text", {"who": "nobody", "words": "x"}, {"words": "x"}, {"who": []}]
)
def test_turns_that_the_tags_do_not_fit_are_bad_rows(broken: Any, tmp_path: Path) -> None:
    write(tmp_path / "chat.jsonl", {"dialog": [broken]}, {"dialog": 3})
    info(tmp_path, mine=THEIRS)
    lines = complaints(tmp_path / "mine")
    assert lines[0].startswith("chat.jsonl:1 message 1")
    assert lines[1] == "chat.jsonl:2 conversations should be a list (got number)"


def test_an_entry_with_a_prompt_alone_is_text(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"body": "raw"})
    info(tmp_path, mine={"file_name": "a.jsonl", "columns": {"prompt": "body"}})
    assert examples(tmp_path / "mine", "pt") == [Example(text="raw")]


def test_each_name_of_a_file_has_its_own_columns_and_the_users_win(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"a": "1", "b": "2", "c": "3"})
    columns = [{"prompt": "a", "response": "b"}, {"prompt": "b", "response": "c"}]
    first, second = (
        {"file_name": "a.jsonl", "columns": named, "num_samples": 1} for named in columns
    )
    info(tmp_path, first=first, second=second)
    assert turns(examples(tmp_path / "second")[0]) == [("user", "2"), ("assistant", "3")]
    assert turns(examples(tmp_path / "first")[0]) == [("user", "1"), ("assistant", "2")]
    assert source(tmp_path / "first")[0].num_samples == 1
    assert turns(examples(tmp_path / "first", c="output", b="input")[0])[0] == ("user", "1\n2")


def test_a_name_in_the_registry_takes_a_number_of_rows(tmp_path: Path) -> None:
    numbered(tmp_path / "a.jsonl", 5)
    info(tmp_path, mine={"file_name": "a.jsonl"})
    (source,) = parse_sources([f"{tmp_path / 'mine'}#2"], columns={})
    assert (source.path, source.num_samples) == (str(tmp_path / "a.jsonl"), 2)


@pytest.mark.parametrize("content", ["[1]", '{"x": 3}', '{"x": {"features": {}}}', "{}"])
def test_a_dataset_info_of_another_format_is_ignored(content: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row())
    write(tmp_path / "dataset_info.json", content)
    assert questions(tmp_path / "a.jsonl") == questions(tmp_path) == ["q"]


def test_a_broken_dataset_info_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", row())
    write(tmp_path / "dataset_info.json", "{")
    with pytest.raises(DataError, match=r"dataset_info\.json: cannot be read"):
        examples(tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["../secret.jsonl", "/etc/passwd", "a/../../secret.jsonl"])
def test_a_dataset_info_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret.jsonl", row())
    (tmp_path / "data").mkdir()
    info(tmp_path / "data", mine={"file_name": name})
    with pytest.raises(DataError, match=r"dataset_info\.json names"):
        examples(tmp_path / "data" / "mine")
