"""Two answers side by side: a row is written once, and wide characters stay in their column."""

from __future__ import annotations

import pytest

from swiftbox.chat.columns import Columns, limit_line_breaks, wrap_text
from swiftbox.formatting import width as cells_of

MIXED = "The 长城 is 万里 long, and averyveryverylongwordwithoutend stands 在中国北方的山上。"


@pytest.mark.parametrize("width", [2, 5, 11, 40])
def test_no_row_is_too_wide_and_no_text_is_lost(width: int) -> None:
    lines = wrap_text(MIXED, width)
    assert all(cells_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == MIXED.replace(" ", "")


def test_lines_break_at_spaces_and_between_wide_characters() -> None:
    assert wrap_text("one two three", 8) == ["one two", "three"]
    assert wrap_text("长城在北方", 5) == ["长城", "在北", "方"]
    assert wrap_text("a\n\nb", 5) == ["a", "", "b"]


def written(pieces: list[tuple[int, str]], width: int = 40) -> list[str]:
    output: list[str] = []
    columns = Columns(width, output.append)
    for column, content in pieces:
        if content:
            columns.add(column, content)
        else:
            columns.end(column)
    return "".join(output).splitlines()


def test_a_text_in_pieces_looks_like_the_text_at_once() -> None:
    left, right = MIXED, "short\n答案"
    rows = written([(0, left), (1, right), (0, ""), (1, "")])
    letters = [(0, letter) for letter in left] + [(1, letter) for letter in right]
    assert written([*letters, (1, ""), (0, "")]) == rows
    assert all(cells_of(row) <= 39 for row in rows)
    assert {cells_of(row.partition("│")[0]) for row in rows} == {19}


@pytest.mark.parametrize("cells", range(2, 24))
def test_only_the_last_row_of_a_growing_text_changes(cells: int) -> None:
    rows: list[str] = []
    for end in range(1, len(MIXED) + 1):
        longer = wrap_text(MIXED[:end], cells)
        assert longer[: len(rows) - 1] == rows[:-1]
        rows = longer


def test_a_text_that_has_ended_does_not_delay_the_other() -> None:
    rows = written([(0, "done"), (0, ""), (1, "one\ntwo\nthree")])
    assert [row.split("│")[1].strip() for row in rows] == ["one", "two"]


def test_repeated_empty_lines_are_shown_as_one() -> None:
    assert limit_line_breaks("a\n\n\n\nb\n", 0) == ("a\n\nb\n", 1)
    assert limit_line_breaks("\n \n\nc", 1) == ("\n c", 0)
    rows = written([(0, "a\n\n\n\nb"), (1, "c"), (0, ""), (1, "")])
    assert [row.split("│")[0].strip() for row in rows] == ["a", "", "b"]
