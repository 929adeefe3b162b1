"""Questions: keys typed before them, the proposed choice, and errors above them."""

from __future__ import annotations

import os
import pty
import select as ready

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swiftbox.errors import DataError
from swiftbox.menu.questions import select
from swiftbox.menu.terminal import discard_typed_keys, print_error


def test_keys_typed_during_a_run_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    front, back = pty.openpty()
    try:
        with os.fdopen(back, closefd=False) as terminal:
            monkeypatch.setattr("sys.stdin", terminal)
            os.write(front, b"q\r")
            assert ready.select([back], [], [], 5)[0]
            discard_typed_keys()
            assert not ready.select([back], [], [], 0)[0]
    finally:
        os.close(front)
        os.close(back)


def test_a_choice_with_the_value_none_is_not_the_default() -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("\r")
        assert select("?", [("first", "first"), (None, "back")]) == "first"


def test_a_long_list_of_errors_keeps_its_end_and_its_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [f"rows.jsonl:{at} is bad" for at in range(200)]
    print_error(DataError("\n".join([*rows, "200 rows are bad"]), hint="correct them"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12
    assert lines[0] == "error: rows.jsonl:0 is bad"
    assert "more lines" in lines[-4]
    assert lines[-2:] == ["200 rows are bad", "hint: correct them"]
