"""Sizes, durations, bars, widths and near misses, in both languages and at the borders of units."""

from __future__ import annotations

import pytest

from swiftbox import formatting
from swiftbox.formatting import (
    bar,
    clock,
    count,
    counted,
    cut,
    did_you_mean,
    duration,
    is_or_are,
    near,
    nearest,
    pad,
    plain_number,
    rate,
    size,
    suggestion_ending,
    table_row,
    width,
    wrap,
)


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")


@pytest.mark.parametrize(
    ("byte_count", "written"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),  # never 1024.0 KiB
        (1024**2, "1.0 MiB"),
        (1.5 * 1024**3, "1.5 GiB"),
        (1024**4, "1.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_a_size_has_one_decimal_and_a_binary_unit(byte_count: float, written: str) -> None:
    assert size(byte_count) == written


def test_a_rate_is_a_size_per_second() -> None:
    assert rate(12.3 * 2**20) == "12.3 MiB/s"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (7_615_616_512, "7.62B"),
        (1e12, "1T"),
        (999_950, "1M"),  # never 1e+03k
        (999.6, "1k"),
    ],
)
def test_a_count_has_three_figures(number: float, written: str) -> None:
    assert count(number) == written


DURATIONS = [
    (0, "0.0 s", "0.0 秒"),
    (0.44, "0.4 s", "0.4 秒"),
    (9.94, "9.9 s", "9.9 秒"),
    (9.95, "10 s", "10 秒"),
    (59.4, "59 s", "59 秒"),
    (59.5, "1 min", "1 分钟"),  # never 60 s
    (60, "1 min", "1 分钟"),
    (61, "1 min 1 s", "1 分 1 秒"),
    (725, "12 min 5 s", "12 分 5 秒"),
    (3599.4, "59 min 59 s", "59 分 59 秒"),
    (3599.6, "1 h", "1 小时"),  # never 60 min
    (3600, "1 h", "1 小时"),
    (3629, "1 h", "1 小时"),
    (7800, "2 h 10 min", "2 小时 10 分"),
    (86_369, "23 h 59 min", "23 小时 59 分"),
    (86_370, "1 d", "1 天"),  # never 24 h
    (86_400, "1 d", "1 天"),
    (273_600, "3 d 4 h", "3 天 4 小时"),
]


def test_a_plain_number_is_written_as_people_type_it() -> None:
    numbers = (0.05, 1, 65535, 1_000_000, 1e-7)
    assert [plain_number(number) for number in numbers] == [
        "0.05",
        "1",
        "65535",
        "1,000,000",
        "1e-07",
    ]


def test_one_thing_is_written_in_the_singular() -> None:
    assert [counted(number, "bad row") for number in (0, 1, 2, 1200)] == [
        "0 bad rows",
        "1 bad row",
        "2 bad rows",
        "1,200 bad rows",
    ]
    assert [is_or_are(number) for number in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(("seconds", "written", "_"), DURATIONS)
def test_a_duration_has_at_most_two_units(seconds: float, written: str, _: str) -> None:
    assert duration(seconds) == written


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(("seconds", "_", "written"), DURATIONS)
def test_a_duration_is_written_in_chinese(seconds: float, _: str, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (65, "1:05"),
        (3599.6, "1:00:00"),
        (3725, "1:02:05"),
    ],
)
def test_a_clock_carries_over(seconds: float, written: str) -> None:
    assert clock(seconds) == written


def test_a_bar_is_as_wide_as_asked() -> None:
    assert bar(1, 4, 8) == "━━──────"
    assert bar(1, 4, 8, unicode=False) == "##......"
    assert bar(0, 4, 3, unicode=False) == "..."
    assert bar(9, 4, 3, unicode=False) == "###"
    assert bar(-1, 4, 3, unicode=False) == "..."
    assert bar(0, 0, 3, unicode=False) == "###"  # an empty file is complete


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("", 0),
        ("abc", 3),
        ("模型", 4),
        ("模型 a", 6),
        ("，。", 4),  # full-width punctuation
        ("ｱ", 1),  # half-width katakana
        ("한국", 4),
        ("e\u0301", 1),  # a combining accent
        ("a\u200bb", 2),  # a zero-width space
        ("…", 1),
        ("━", 1),
    ],
)
def test_a_width_counts_cells(line: str, cells: int) -> None:
    assert width(line) == cells


@pytest.mark.parametrize(
    ("line", "cells", "shortened"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("模型", 4, "模型"),
        ("模型训练", 5, "模型…"),
        ("模型训练", 4, "模…"),  # half a character does not fit
        ("模型", 1, "…"),
        ("模型", 0, ""),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
    ],
)
def test_a_line_is_cut_to_its_cells(line: str, cells: int, shortened: str) -> None:
    assert cut(line, cells) == shortened
    assert width(cut(line, cells)) <= cells


def test_another_mark_may_stand_for_what_was_cut() -> None:
    assert cut("abcdef", 5, mark="...") == "ab..."
    assert cut("abcdef", 4, mark="") == "abcd"
    assert cut("abcdef", 2, mark="...") == ""


def test_a_line_is_padded_by_cells() -> None:
    assert pad("模型", 6) == "模型  "
    assert pad("模型", 6, right=True) == "  模型"
    assert pad("模型", 3) == "模型"


@pytest.mark.parametrize(
    ("line", "cells", "lines"),
    [
        ("", 5, [""]),
        ("one two three", 7, ["one two", "three"]),
        ("one two three", 5, ["one", "two", "three"]),
        ("模型训练", 4, ["模型", "训练"]),
        ("用 LoRA 训练模型", 8, ["用 LoRA", "训练模型"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("a abcdefgh", 4, ["a", "abcd", "efgh"]),
    ],
)
def test_a_line_is_wrapped_at_spaces_and_between_wide_characters(
    line: str, cells: int, lines: list[str]
) -> None:
    assert wrap(line, cells) == lines
    assert all(width(part) <= cells for part in wrap(line, cells))


def test_continuation_lines_are_indented() -> None:
    assert wrap("one two three", 7, indent="  ") == ["one two", "  three"]
    assert wrap("模型训练", 6, indent="  ") == ["模型训", "  练"]


def test_closing_punctuation_stays_with_its_line() -> None:
    assert wrap("训练模型。", 8) == ["训练模", "型。"]
    assert wrap("用 LoRA，训练", 8) == ["用", "LoRA，训", "练"]


def test_opening_punctuation_does_not_end_a_line() -> None:
    assert wrap("训练（model a）", 12) == ["训练（model", "a）"]
    assert wrap("训练（模型）", 6) == ["训练", "（模", "型）"]


def test_a_table_row_has_columns_of_fixed_widths() -> None:
    assert table_row(["模型", "1.5", "x"], [6, 5, 3], right=(1,)) == "模型     1.5 x"
    assert table_row(["模型训练", "1"], [5, 2]) == "模型… 1"
    assert table_row(["a", ""], [3, 4]) == "a"


def test_near_misses_are_proposed() -> None:
    known = ["learning_rate", "lora_rank", "lora_alpha"]
    assert nearest("lora_rnak", known) == "lora_rank"
    assert nearest("temperature", known) == ""
    assert near("lora_alph", known, limit=2) == ["lora_alpha", "lora_rank"]


def test_every_public_function_is_tested_here() -> None:
    public = {
        name
        for name, value in vars(formatting).items()
        if callable(value) and getattr(value, "__module__", "") == formatting.__name__
    }
    tested = {bar, clock, count, cut, duration, near, nearest, pad, rate, size}
    tested |= {
        plain_number,
        counted,
        did_you_mean,
        is_or_are,
        suggestion_ending,
        table_row,
        width,
        wrap,
    }
    assert {name for name in public if not name.startswith("_")} == {f.__name__ for f in tested}


def test_a_suggestion_is_worded_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert did_you_mean("train") == "did you mean train?"
    assert did_you_mean("a", "b") == "did you mean a, b?"
    assert did_you_mean("") == did_you_mean() == suggestion_ending("") == ""
    assert suggestion_ending("train") == "; did you mean train?"
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert did_you_mean("a", "b") == "是否想写 a、b？"
    assert suggestion_ending("train") == "；是否想写 train？"
