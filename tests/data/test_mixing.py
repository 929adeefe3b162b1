"""Several datasets mixed by weight, and examples iterated without keeping them."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loaded_examples import load_examples
from row_files import write

from swiftbox.config.groups import DatasetSource
from swiftbox.data.check import check_rows, iterate_examples
from swiftbox.data.sampling import sampling_of
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import DataError


def numbered(path: Path, count: int) -> Path:
    return write(path, *({"query": f"{n:03}", "response": "a"} for n in range(count)))


def mixed(*named: Any) -> tuple[RowSource, ...]:
    return parse_sources(named, columns={})


def taken(*named: Any, seed: int = 0) -> list[str]:
    checked = load_examples(mixed(*named), stage="sft", max_bad_rows=0, seed=seed)
    assert checked.taken == len(checked.examples) == len(checked.origins)
    return [example.messages[0].content for example in checked.examples]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (1, {1: 10}),
        (2, {2: 10}),
        (3.0, {3: 10}),
        (0.5, {1: 5}),
        (1.5, {1: 5, 2: 5}),
        (2.3, {2: 7, 3: 3}),
        (0.01, {1: 1}),
    ],
)
def test_a_weight_says_how_often_rows_are_taken(
    weight: float, expected: dict[int, int], tmp_path: Path
) -> None:
    path = numbered(tmp_path / "a.jsonl", 10)
    counts = Counter(taken({"path": str(path), "weight": weight}))
    assert Counter(counts.values()) == expected


def test_the_half_that_a_weight_takes_follows_the_seed(tmp_path: Path) -> None:
    half = {"path": str(numbered(tmp_path / "a.jsonl", 100)), "weight": 0.5}
    first, again, other = taken(half, seed=1), taken(half, seed=1), taken(half, seed=2)
    assert first == again == sorted(first)
    assert first != other


def test_a_weight_and_a_number_of_rows_work_together(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.jsonl", 100)
    counts = Counter(taken({"path": f"{path}#10", "weight": 1.5}))
    assert Counter(counts.values()) == {1: 5, 2: 5}
    sample = taken(f"{path}#10")
    assert set(counts) == set(sample)


def test_every_row_is_as_likely_to_be_taken_once_more() -> None:
    often = [0] * 10
    for seed in range(2000):
        sampling = sampling_of(RowSource("a", weight=1.3), 10, seed)
        for number, is_taken in enumerate(sampling.choices(1)):
            often[number] += is_taken
    assert all(500 < count < 700 for count in often)  # 600 expected, 20 standard deviation


def test_weights_are_reported_and_counted(tmp_path: Path) -> None:
    first, second = numbered(tmp_path / "a.jsonl", 10), numbered(tmp_path / "b.jsonl", 4)
    sources = mixed({"path": str(first), "weight": 0.5}, {"path": str(second), "weight": 2})
    checked = check_rows(sources, stage="sft", max_bad_rows=0)
    assert (checked.rows, checked.taken) == (14, 13)
    assert "13 taken (a.jsonl x 0.5, b.jsonl x 2)" in checked.summary()


def test_the_weight_of_a_yaml_reaches_the_source() -> None:
    named = DatasetSource(path="a", weight=1.5).model_dump()
    assert mixed(named)[0].weight == 1.5
    assert mixed("a")[0].weight is None


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_a_weight_that_selects_no_row_is_refused(weight: float) -> None:
    with pytest.raises(DataError, match="weight should be greater than 0"):
        mixed({"path": "a", "weight": weight})
    with pytest.raises(ValueError, match="weight"):
        DatasetSource(path="a", weight=weight)


def test_iterating_again_gives_the_same_examples(tmp_path: Path) -> None:
    first, second = numbered(tmp_path / "a.jsonl", 20), numbered(tmp_path / "b.jsonl", 9)
    bad = write(tmp_path / "c.jsonl", "{bad", {"query": "x", "response": "y"}, {"query": "z"})
    named = mixed(
        {"path": f"{first}#7", "weight": 1.5},
        {"path": str(second), "weight": 2},
        {"path": str(bad), "weight": 1.5},
    )
    loaded = load_examples(named, stage="sft", max_bad_rows=2, seed=3)
    passed = iterate_examples(named, stage="sft", max_bad_rows=2, seed=3)
    for _ in range(2):
        pairs = list(passed)
        assert pairs == list(zip(loaded.examples, loaded.origins, strict=True))
        assert (passed.checked.rows, passed.checked.taken) == (loaded.rows, loaded.taken)
        assert passed.checked.weights == loaded.weights
        assert [str(row) for row in passed.checked.bad] == [str(row) for row in loaded.bad]


def test_too_many_bad_rows_are_reported_at_the_end(tmp_path: Path) -> None:
    good = {"query": "q", "response": "a"}
    path = write(tmp_path / "a.jsonl", good, "{bad", good)
    for dataset in (str(path), {"path": str(path), "weight": 0.5}, f"{path}#1"):
        loaded = iter(iterate_examples(mixed(dataset), stage="sft", max_bad_rows=0, seed=0))
        assert next(loaded)[0].messages[0].content == "q"
        with pytest.raises(DataError, match=r"(?s)a\.jsonl:2 is not JSON.*1 of 3 rows is bad"):
            list(loaded)


def peak_of_iterating(path: Path, rows: int, **options: Any) -> int:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(f'{{"query": "{number}", "response": "a"}}\n')
    examples = iterate_examples(
        mixed({"path": str(path), **options}), stage="sft", max_bad_rows=0, seed=0
    )
    tracemalloc.start()
    try:
        count = sum(1 for _ in examples)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == examples.checked.taken
    return peak


@pytest.mark.parametrize("options", [{}, {"num_samples": 10_000}, {"weight": 0.5}], ids=str)
def test_memory_stays_flat_on_twenty_thousand_rows(options: dict[str, Any], tmp_path: Path) -> None:
    few = peak_of_iterating(tmp_path / "few.jsonl", 1_000, **options)
    many = peak_of_iterating(tmp_path / "many.jsonl", 20_000, **options)
    assert many < few + 50_000  # bytes: 2.5 a row, where a list of numbers holds 8
