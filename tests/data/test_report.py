"""Statistics of pairs and labelled answers: lengths, repetitions, balance; with known counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_files import A, Q, source, write

from swiftbox.data.check import check_rows, iterate_examples
from swiftbox.data.findings import CheckedRows
from swiftbox.data.report import advised_weights, lines
from swiftbox.data.source import parse_sources
from swiftbox.errors import DataError


def pair(chosen: str, rejected: str, prompt: str = "q") -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def check(path: Path, *rows: Any, stage: str = "dpo", bad: int = 0) -> CheckedRows:
    return check_rows(source(write(path / "a.jsonl", *rows)), stage=stage, max_bad_rows=bad)


def reported(path: Path, *rows: Any, stage: str = "dpo", bad: int = 0) -> dict[str, Any]:
    data = check(path, *rows, stage=stage, bad=bad).preference_data()
    assert data is not None
    return data


def test_the_lengths_of_pairs_are_compared(tmp_path: Path) -> None:
    rows = [pair("aaaa", "b", "1"), pair("aa", "b", "2"), pair("a", "bb", "3"), pair("a", "b", "4")]
    data = reported(tmp_path, *rows)
    # Ratios 4, 2, 1/2 and 1: their geometric mean is the fourth root of 4.
    assert (data["pairs"], data["longer_chosen"], data["length_ratio"]) == (4, 0.5, 1.4142)
    summary = check(tmp_path, *rows).summary().splitlines()
    assert summary[1:] == [
        "pairs: 4; chosen is longer in 50%, on average 1.41 x as long as rejected"
    ]


def test_only_what_follows_the_shared_turns_has_a_length(tmp_path: Path) -> None:
    long = {"role": "user", "content": "long " * 100}
    data = reported(tmp_path, {"prompt": [long], "chosen": "aaa", "rejected": "b"})
    assert data["length_ratio"] == 3.0


def test_a_call_has_a_length(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    calls = {"role": "assistant", "content": "", "tool_calls": [call]}
    data = reported(tmp_path, {"prompt": [Q], "chosen": [calls], "rejected": [A]})
    assert data["longer_chosen"] == 1.0


@pytest.mark.parametrize(("longer", "warned"), [(7, False), (8, True)])
def test_a_length_bias_above_seven_in_ten_is_a_warning(
    longer: int, warned: bool, tmp_path: Path
) -> None:
    rows = [pair("aa" if n < longer else "a", "b", str(n)) for n in range(10)]
    assert ("length bias" in check(tmp_path, *rows).summary()) is warned


def test_identical_pairs_are_bad_rows_that_max_bad_rows_governs(tmp_path: Path) -> None:
    rows = [pair("a", "b"), pair("a", "a"), pair("b", "b", "p")]
    with pytest.raises(DataError, match=r"2 of 3 rows are bad \(1 kind\)"):
        check(tmp_path, *rows)
    checked = check(tmp_path, *rows, bad=2)
    assert (checked.rows, {row.kind for row in checked.bad}) == (1, {"identical"})
    assert "2 identical pairs are among the bad rows" in checked.summary()
    assert checked.data()["preferences"]["identical"] == 2


def test_repeated_pairs_and_prompts_are_counted(tmp_path: Path) -> None:
    rows = [pair("a", "b"), pair("a", "b"), pair("c", "d"), pair("a", "b", "p")]
    checked = check(tmp_path, *rows)
    assert checked.duplicates == 1
    assert checked.preference_data() == {
        "repeated_prompts": 2,
        "pairs": 4,
        "longer_chosen": 0.0,
        "length_ratio": 1.0,
        "identical": 0,
        "duplicates": 1,
    }
    assert "1 exact duplicate" in checked.summary()
    assert "2 rows repeat the prompt of an earlier row" in checked.summary()


def test_pairs_that_differ_on_one_side_are_not_duplicates(tmp_path: Path) -> None:
    assert check(tmp_path, pair("a", "b"), pair("a", "c")).duplicates == 0
    rows = ({"prompt": "q", "completion": "a", "label": label} for label in (True, False))
    assert check(tmp_path, *rows, stage="kto").duplicates == 0


@pytest.mark.parametrize(
    ("desirable", "undesirable", "advised"),
    [
        (10, 10, ([1, 1], [1, 1])),
        (4, 3, ([1, 1], [1, 1])),
        (10, 20, ([2, 2.66], [1, 1])),
        (30, 10, ([1, 1], [2.25, 3])),
        (1, 9, ([9, 12], [1, 1])),
    ],
)
def test_the_advised_weights_balance_the_answers(
    desirable: int, undesirable: int, advised: tuple[list[float], list[float]]
) -> None:
    weights = advised_weights(desirable, undesirable)
    assert weights is not None
    assert (weights["desirable_weight"], weights["undesirable_weight"]) == advised
    for end in (0, 1):
        good = weights["desirable_weight"][end] * desirable
        poor = weights["undesirable_weight"][end] * undesirable
        assert 1 <= good / poor <= 4 / 3 + 1e-9


def test_the_answers_of_kto_are_counted_with_their_advice(tmp_path: Path) -> None:
    rows = [
        {"messages": [Q, {**A, "content": str(number)}], "label": number < 6} for number in range(8)
    ]
    checked = check(tmp_path, *rows, stage="kto")
    assert "answers: 6 desirable, 2 undesirable; undesirable_weight: 2.25 to 3" in checked.summary()
    alone = check(tmp_path, rows[0], stage="kto")
    assert "kto needs both kinds, one is missing" in alone.summary()


def test_a_pair_is_one_answer_of_each_kind_for_kto(tmp_path: Path) -> None:
    data = reported(tmp_path, pair("a", "b"), stage="kto")
    assert (data["desirable"], data["undesirable"]) == (1, 1)
    assert "desirable" not in reported(tmp_path, pair("a", "b"))


def test_answers_count_as_often_as_their_set_is_taken(tmp_path: Path) -> None:
    good = [{"prompt": str(n), "completion": "a", "label": True} for n in range(4)]
    poor = [{"prompt": str(n), "completion": "b", "label": False} for n in range(4)]
    named: list[Any] = [
        {"path": str(write(tmp_path / "good.jsonl", *good)), "weight": 0.5},
        {"path": str(write(tmp_path / "poor.jsonl", *poor)), "weight": 3},
    ]
    mixed = parse_sources(named, columns={})
    report = check_rows(mixed, stage="kto", max_bad_rows=0).preferences
    assert report is not None
    assert (report.desirable, report.undesirable) == (2, 12)


def test_chat_rows_have_no_such_report(tmp_path: Path) -> None:
    checked = check(tmp_path, {"messages": [Q, A]}, stage="sft")
    assert checked.preference_data() is None
    assert checked.summary() == "rows: 1 (1 messages)"


def test_iterating_counts_pairs_but_keeps_no_prompts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pair("a", "b"), pair("c", "d"))
    passed = iterate_examples(source(path), stage="dpo", max_bad_rows=0, seed=0)
    assert sum(1 for _ in passed) == 2
    data = passed.checked.preference_data()
    assert data is not None
    assert (data["pairs"], data["repeated_prompts"]) == (2, 0)


def test_the_report_is_in_chinese_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    rows = [pair("aa", "b"), pair("cc", "d"), pair("a", "a")]
    checked = check(tmp_path, *rows, stage="kto", bad=1).summary().splitlines()
    assert len(checked) == 6
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in line) for line in checked)
    assert lines({"repeated_prompts": 0}) == []


def test_the_findings_are_json(tmp_path: Path) -> None:
    checked = json.loads(json.dumps(check(tmp_path, pair("a", "b"), stage="kto").data()))
    assert checked["formats"] == {"chosen-rejected": 1}
    assert (checked["rows"], checked["taken"], checked["bad"]) == (1, 1, 0)
    assert checked["preferences"]["advised_weights"] == {
        "desirable_weight": [1.0, 1.0],
        "undesirable_weight": [1.0, 1.0],
    }
