"""A long check counts its rows on a terminal, and leaves nothing there."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest

from swiftbox.data.check import check_rows
from swiftbox.data.source import RowSource
from swiftbox.display import row_progress
from swiftbox.display.row_progress import CLEAR_LINE, ROWS_PER_LOOK, shown_row_progress
from swiftbox.runs.waiting import reported_wait


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def rows(tmp_path: Path) -> list[RowSource]:
    path = tmp_path / "a.jsonl"
    line = json.dumps({"query": "q", "response": "a"}) + "\n"
    path.write_text(line * 2 * ROWS_PER_LOOK, "utf-8")
    return [RowSource(str(path))]


def shown_on(stream: io.StringIO, rows: list[RowSource], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with shown_row_progress():
        assert check_rows(rows, stage="sft", max_bad_rows=0).rows == 2 * ROWS_PER_LOOK
    return stream.getvalue()


def test_a_long_check_counts_rows_and_removes_the_line(
    rows: list[RowSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_progress, "QUIET_S", -1.0)
    monkeypatch.setattr(row_progress, "REPAINT_S", -1.0)
    shown = shown_on(Terminal(), rows, monkeypatch)
    assert f"checking rows: {ROWS_PER_LOOK}" in shown
    assert f"checking rows: {2 * ROWS_PER_LOOK}" in shown
    assert shown.endswith(CLEAR_LINE)


def test_a_short_check_shows_nothing(
    rows: list[RowSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_progress, "QUIET_S", 3600.0)
    assert shown_on(Terminal(), rows, monkeypatch) == ""


def test_without_a_terminal_nothing_is_shown(
    rows: list[RowSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_progress, "QUIET_S", -1.0)
    assert shown_on(io.StringIO(), rows, monkeypatch) == ""


def test_a_long_wait_is_named_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    is_shown = threading.Event()
    write = stream.write

    def written(content: str) -> int:
        is_shown.set()
        return write(content)

    monkeypatch.setattr(stream, "write", written)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(row_progress, "QUIET_S", 0.0)
    with shown_row_progress(), reported_wait("loading the class"):
        assert is_shown.wait(60)
    assert stream.getvalue() == f"{CLEAR_LINE}loading the class ...{CLEAR_LINE}"


def test_a_short_wait_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(row_progress, "QUIET_S", 3600.0)
    with shown_row_progress(), reported_wait("loading the class"):
        pass
    assert stream.getvalue() == ""
