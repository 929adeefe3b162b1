"""Two answers beside each other: rows are written once, in place, whatever is wide in them."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from swiftbox.chat.columns import Columns, squeezed, wrapped

MIXED = "The 长城 is 万里 long, and averyveryverylongwordwithoutend stands 在中国北方的山上。"


@pytest.mark.parametrize("width", [2, 5, 11, 40])
def test_no_line_is_wider_than_it_may_be_and_nothing_is_lost(width: int) -> None:
    lines = wrapped(MIXED, width)
    assert all(cell_len(one) <= width for one in lines)
    assert "".join(lines).replace(" ", "") == MIXED.replace(" ", "")


def test_lines_break_at_spaces_and_between_wide_characters() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("长城在北方", 5) == ["长城", "在北", "方"]
    assert wrapped("a\n\nb", 5) == ["a", "", "b"]


def written(pieces: list[tuple[int, str]], width: int = 40) -> list[str]:
    found: list[str] = []
    columns = Columns(width, found.append)
    for side, words in pieces:
        if words:
            columns.add(side, words)
        else:
            columns.end(side)
    return "".join(found).splitlines()


def test_what_comes_in_pieces_is_shown_as_what_comes_at_once() -> None:
    left, right = MIXED, "short\n答案"
    whole = written([(0, left), (1, right), (0, ""), (1, "")])
    pieces = [(side, one) for side, words in ((0, left), (1, right)) for one in words]
    assert written([*pieces, (1, ""), (0, "")]) == whole
    assert all(cell_len(one) <= 39 for one in whole)
    assert {cell_len(one.partition("│")[0]) for one in whole} == {19}


def test_a_side_that_has_ended_does_not_hold_the_other_up() -> None:
    rows = written([(0, "done"), (0, ""), (1, "one\ntwo\nthree")])
    assert [row.split("│")[1].strip() for row in rows] == ["one", "two"]


def test_empty_lines_in_a_row_are_shown_as_one() -> None:
    assert squeezed("a\n\n\n\nb\n", 0) == ("a\n\nb\n", 1)
    assert squeezed("\n \n\nc", 1) == ("\n c", 0)
    rows = written([(0, "a\n\n\n\nb"), (1, "c"), (0, ""), (1, "")])
    assert [row.split("│")[0].strip() for row in rows] == ["a", "", "b"]
